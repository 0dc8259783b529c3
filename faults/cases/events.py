"""Events that come twice, late, poisoned, or to a stage that does not move."""

import asyncio
import signal
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from nats.js.api import ConsumerConfig

from faults.invariants import Delivery, Evidence
from faults.repeating import Posted, Repeater, repeating
from faults.system import NATS, NotReached, System
from faults.trial import MANY, Case, Trial
from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.nats.streams import ACK_WAIT
from kannon.adapters.nats.streams import STAGES as STREAM_OF_STAGE
from kannon.cli.standalone.plan import EDGE, SOURCE, STAGES
from kannon.core.keys import Purpose, subkey
from kannon.core.payloads import Delivered, Emitted, TransmissionsDelivered
from kannon.events import Sealer
from kannon.runtime.clock import utc_now

SHORT_ACK_WAIT: Final = 2.0
STOPPED: Final = 4.0
"""Seconds for which a process is stopped, twice the ack wait."""
_BESIDE_THE_POISON: Final = 3


async def _each_event_twice(trial: Trial) -> None:
    trial.slow_sink(0.02)
    async with repeating(trial.system) as repeater:
        await trial.send()
        trial.healed()
        await trial.until_all_ended()
        trial.notes.append(f"{len(repeater.posted)} events")


async def _all_again_an_hour_later(trial: Trial) -> None:
    system = trial.system
    trial.slow_sink(0.02)
    async with repeating(system) as repeater:
        await trial.send()
        await trial.until_all_ended()
        counted = await trial.tenant.counts()
        await system.arm("stats", "stats.committed=step:3600")
        posted = list(repeater.posted)
        answers = Counter([await _taken(repeater, one) for one in posted])
        trial.demand(set(answers) == {204}, f"stages answered {dict(answers)}")
        trial.demand(await trial.tenant.counts() == counted, "the counts have changed")
        trial.notes.append(f"{len(posted)} events; the hour passes on stats' clock alone")
    await system.restart("stats")
    trial.healed()


async def _taken(repeater: Repeater, posted: Posted) -> int:
    """Post until the stage does not ask to be called again; returns its status."""
    while True:
        status, retry_after = await repeater.post(posted)
        if status != 503:
            return status
        await asyncio.sleep(float(retry_after or 1))


async def _poisoned(trial: Trial) -> None:
    system = trial.system
    async with await connect(system.nats.url, "faults", give_up_after=10) as nats:
        buried = await _dead_letters(nats)
        # The edge's results are held back, and told in its place, with one among them that cannot be written.
        system.proxies[f"{EDGE}-{NATS}"].cut()
        await trial.send()
        await trial.until_arrived(MANY)
        deliveries = sorted(trial.tenant.copies)
        trial.random.shuffle(deliveries)
        first = [_delivered(one) for one in deliveries[: _BESIDE_THE_POISON + 1]]
        place = trial.random.randrange(len(first))
        poisoned = deliveries[place]
        first[place] = _delivered(poisoned, attempt=99_999)
        key = subkey(system.folder.secret.encode(), Purpose.EVENTS)
        publisher = NatsPublisher(nats, Sealer(key, "/kannon/edge"), utc_now)
        await publisher.publish(TransmissionsDelivered(tuple(first)))
        for start in range(len(first), MANY, 98):
            chunk = tuple(_delivered(one) for one in deliveries[start : start + 98])
            await publisher.publish(TransmissionsDelivered(chunk))
        await _until_owed(trial, {poisoned})
        await _until_buried(nats, buried + 1)
        await system.proxies[f"{EDGE}-{NATS}"].heal()
    trial.healed()


def _delivered(delivery: Delivery, attempt: int = 1) -> Delivered:
    emitted = Emitted(*delivery, attempt, 1)
    return Delivered(emitted, datetime.now(UTC), 250, "2.0.0", "taken", "127.0.0.1")


async def _until_owed(trial: Trial, left: set[Delivery], within: float = 60.0) -> None:
    """Until nothing but these is owed: all that stood beside the poison has been written."""
    async with asyncio.timeout(within):
        while {one for one, at in (await trial.tenant.statuses()).items() if at != "delivered"} != left:
            await asyncio.sleep(0.05)


async def _until_buried(nats: Connection, letters: int, within: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + within
    while await _dead_letters(nats) < letters:
        if asyncio.get_running_loop().time() > deadline:
            raise NotReached("the poison was not buried")
        await asyncio.sleep(0.1)


async def _dead_letters(nats: Connection) -> int:
    return (await nats.js.stream_info("KANNON_DLQ")).state.last_seq


async def _stopped_past_the_ack_wait(trial: Trial) -> None:
    stage = trial.random.choice(STAGES)
    trial.slow_sink()
    await _set_ack_wait(trial.system, SHORT_ACK_WAIT)
    try:
        for part in (stage, SOURCE):
            await trial.send(MANY // 2)
            await asyncio.sleep(trial.random.uniform(0, 0.6))
            pid = trial.system.signal(part, signal.SIGSTOP)
            await asyncio.sleep(STOPPED)
            trial.demand(trial.system.signal(part, signal.SIGCONT) == pid, f"{part} died")
        trial.healed()
        trial.notes.append(f"{stage}, then {SOURCE}: {STOPPED:g} s, an ack wait of {SHORT_ACK_WAIT:g} s")
        await trial.until_all_ended()
    finally:
        await _set_ack_wait(trial.system, ACK_WAIT)


async def _set_ack_wait(system: System, seconds: float) -> None:
    async with await connect(system.nats.url, "faults", give_up_after=10) as nats:
        for stage, stream in STREAM_OF_STAGE.items():
            found: ConsumerConfig = (await nats.js.consumer_info(stream.name, stage)).config
            await nats.js.add_consumer(stream.name, found.evolve(ack_wait=seconds))


def _delivered_once(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")
    trial.demand(found.extra == 0, f"{found.extra} extra copies, there must be none")


CASES: Final = (
    Case(
        "10",
        "a function, then the source, stopped past the ack wait, and resumed",
        "no extra copy",
        _stopped_past_the_ack_wait,
        _delivered_once,
    ),
    Case(
        "25a",
        "a chunk with one item that cannot be written",
        "that one is a dead letter, the others count; its result is told again",
        _poisoned,
        _delivered_once,
    ),
    Case(
        "25b",
        "every event arrives twice",
        "one copy, counted once",
        _each_event_twice,
        _delivered_once,
    ),
    Case(
        "25c",
        "all events posted once more an hour later",
        "nothing changes",
        _all_again_an_hour_later,
        _delivered_once,
    ),
)
