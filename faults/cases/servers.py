"""NATS and PostgreSQL die, come back late, come back older, come back empty, or have no room left."""

import asyncio
import shutil
import time
from typing import Final

from faults.disks import SmallDisk
from faults.invariants import Evidence
from faults.system import NATS, POSTGRES, replace_folder
from faults.trial import MANY, Case, Trial
from kannon.cli.standalone.plan import EDGE

AWAY: Final = 20.0
"""Seconds for which PostgreSQL stays away; minutes in operation, where leases are, too."""
KILLS: Final = 10


async def _killed_ten_times(trial: Trial) -> None:
    trial.slow_sink()
    sending = asyncio.create_task(_send_bit_by_bit(trial))
    for _ in range(KILLS):
        await trial.system.kill(NATS)
        await trial.system.until_ready(NATS)
        await asyncio.sleep(trial.random.uniform(0, 0.4))
    await sending
    trial.healed()


async def _send_bit_by_bit(trial: Trial) -> None:
    for _ in range(10):
        await trial.send(MANY // 10)
        await asyncio.sleep(0.3)


async def _older_store(trial: Trial) -> None:
    system = trial.system
    kept = system.folder.path / "older-store"
    trial.slow_sink()
    await trial.send(MANY // 2)
    await trial.some_arrive(30)
    async with system.away(NATS):
        replace_folder(kept, system.nats.store_folder)
    await trial.send(MANY)
    await trial.until_arrived(MANY // 2 + trial.random.randint(1, 60))
    async with system.away(NATS):
        replace_folder(system.nats.store_folder, kept)
    shutil.rmtree(kept)
    trial.healed()


async def _store_deleted(trial: Trial) -> None:
    trial.slow_sink()
    await trial.send()
    if trial.random.random() < 0.7:  # else while recipients are announced and verified
        await trial.some_arrive()
    async with trial.system.away(NATS):
        replace_folder(trial.system.nats.store_folder, None)
    trial.healed()


async def _database_killed(trial: Trial) -> None:
    trial.slow_sink()
    await trial.send()
    if trial.random.random() < 0.7:
        await trial.some_arrive()
    await trial.system.kill(POSTGRES)
    trial.healed()


async def _database_away(trial: Trial) -> None:
    trial.slow_sink(0.2)
    await trial.send()
    await trial.until_all_emitted()
    before = trial.arrived
    began = time.monotonic()
    async with trial.system.away(POSTGRES):
        await trial.until_arrived(MANY)
        trial.notes.append(f"{MANY - before} of {MANY} arrived while it was away")
        await asyncio.sleep(AWAY - (time.monotonic() - began))
    trial.healed()


async def _disk_of_nats_full(trial: Trial) -> None:
    system = trial.system
    disk = SmallDisk(system.nats.store_folder)
    async with system.away(NATS):
        disk.mount()
    try:
        trial.slow_sink()
        await trial.send()
        await trial.some_arrive()
        disk.fill()
        more = asyncio.create_task(trial.send())  # calls need no NATS
        await asyncio.sleep(4)
        disk.drain()
        await more
        await system.kill(
            NATS
        )  # once a write has failed, its stream refuses all others until it is opened anew
        trial.healed()
        await trial.until_all_ended()
    finally:
        async with system.away(NATS):
            disk.unmount()


async def _disk_of_journal_full(trial: Trial) -> None:
    system = trial.system
    disk = SmallDisk(system.journal)
    async with system.away(EDGE):
        disk.mount()
    try:
        await system.restart(EDGE)  # in order: what the log of the journal had room for is given back
        trial.slow_sink()
        await trial.send()
        await trial.some_arrive()
        disk.fill()
        await trial.send()
        await asyncio.sleep(4)
        trial.demand(trial.arrived < 2 * MANY, "everything was sent in spite of a full disk")
        disk.drain()
        trial.healed()
        await trial.until_all_ended()
    finally:
        async with system.away(EDGE):
            disk.unmount()


def _all_delivered(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")


def _none_extra(trial: Trial, found: Evidence) -> None:
    _all_delivered(trial, found)
    trial.demand(found.extra == 0, f"{found.extra} extra copies, there must be none")


CASES: Final = (
    Case("11", "NATS killed ten times", "all delivered, no extra copy", _killed_ten_times, _none_extra),
    Case("12", "NATS comes back with an older copy of its store", "no extra copy", _older_store, _none_extra),
    Case("13", "NATS comes back without its store", "no extra copy", _store_deleted, _none_extra),
    Case("14", "PostgreSQL killed at once", "all delivered, no extra copy", _database_killed, _none_extra),
    Case(
        "15",
        f"PostgreSQL away for {AWAY:g} s (of minutes)",
        "what was built is sent meanwhile, recorded later",
        _database_away,
        _none_extra,
    ),
    Case(
        "17a",
        "the disk under NATS is full; NATS is restarted when it has room again",
        "all delivered, no extra copy",
        _disk_of_nats_full,
        _none_extra,
    ),
    Case(
        "17b",
        "the disk under the journal is full",
        "nothing is sent that cannot be noted",
        _disk_of_journal_full,
        _all_delivered,
    ),
)
