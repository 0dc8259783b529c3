"""A process dies at the worst moment: before, at, and after each step that cannot be undone."""

import asyncio
from typing import Final

from faults.invariants import Evidence
from faults.sink import Behaviour
from faults.system import until
from faults.trial import MANY, Case, Trial
from kannon.cli.standalone.plan import EDGE, GATEWAY
from kannon.runtime.settings import SENDER_MAX_JOBS

_ONE_JOB: Final = {SENDER_MAX_JOBS.variable: "1"}
"""One transmission at a time: all others are clearly before their dot, or after their result."""


async def _killed_at(trial: Trial, part: str, failpoint: str, changed: dict[str, str] | None = None) -> None:
    pid = await trial.system.arm(part, failpoint, changed)
    await trial.send()
    await trial.system.until_ended(part, pid)
    trial.healed()


def _no_extra(trial: Trial, found: Evidence) -> None:
    trial.demand(found.extra == 0, f"{found.extra} extra copies, there must be none")


def _all_delivered(trial: Trial, found: Evidence) -> None:
    _no_extra(trial, found)
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")


async def _gateway_before_commit(trial: Trial) -> None:
    await _killed_at(trial, GATEWAY, "gateway.committing=kill")
    trial.demand(trial.tenant.calls > 1, "the call was answered in spite of the kill")


async def _gateway_after_commit(trial: Trial) -> None:
    await _killed_at(trial, GATEWAY, "gateway.committed=kill")
    trial.demand(trial.tenant.calls > 1, "the call was answered in spite of the kill")


async def _dispatch_published(trial: Trial) -> None:
    await _killed_at(trial, "dispatch", f"dispatch.published=kill@{trial.random.randint(1, 2)}")


async def _dispatch_building(trial: Trial) -> None:
    await _killed_at(trial, "dispatch", f"dispatch.building=kill@{trial.random.randint(1, MANY - 10)}")


async def _edge_before_dot(trial: Trial) -> None:
    point = trial.random.choice(("edge.before-dot", "edge.before-intent"))
    if point == "edge.before-intent":  # time for the result before it to reach the disk
        trial.main.behave = lambda _recipient, _tries: Behaviour(rcpt_delay=0.03)
    trial.notes.append(point)
    await _killed_at(trial, EDGE, f"{point}=kill@{trial.random.randint(1, 60)}", _ONE_JOB)


async def _edge_after_dot(trial: Trial) -> None:
    trial.slow_sink()
    await trial.send()
    await trial.some_arrive()
    trial.main.behave = lambda _recipient, _tries: Behaviour(after_dot="hang")
    await until(lambda: trial.main.hanging >= 8, 20, "transmissions wait for their replies")
    await trial.system.kill(EDGE)
    trial.main.calm()
    trial.healed()


def _after_dot(trial: Trial, found: Evidence) -> None:
    trial.demand(0 < found.extra <= found.ambiguous, f"{found.extra} extra, {found.ambiguous} ambiguous")
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")


async def _edge_replied(trial: Trial) -> None:
    await _killed_at(trial, EDGE, f"edge.replied=kill@{trial.random.randint(1, 60)}", _ONE_JOB)


def _one_extra(trial: Trial, found: Evidence) -> None:
    trial.demand(found.extra == 1 == found.ambiguous, f"{found.extra} extra, {found.ambiguous} ambiguous")
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")


async def _edge_journalled(trial: Trial) -> None:
    # The last result is published while RCPT waits: no dot is without its reply then.
    trial.main.behave = lambda _recipient, _tries: Behaviour(rcpt_delay=0.1)
    await _killed_at(trial, EDGE, f"edge.journalled=kill@{trial.random.randint(1, 4)}", _ONE_JOB)


def _nothing_ambiguous(trial: Trial, found: Evidence) -> None:
    _all_delivered(trial, found)
    trial.demand(found.ambiguous == 0, f"{found.ambiguous} ambiguous, though all was known")


async def _stats_committed(trial: Trial) -> None:
    trial.slow_sink()
    await _killed_at(trial, "stats", f"stats.committed=kill@{trial.random.randint(1, 3)}")


async def _edge_volume_lost(trial: Trial) -> None:
    trial.slow_sink()
    await trial.send()
    await trial.some_arrive()
    async with trial.system.away(EDGE):
        for file in trial.system.journal.iterdir():
            file.unlink()
    trial.healed()


def _volume_lost(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")
    trial.demand(found.ambiguous > 0, "nothing is ambiguous, though nobody knows what was transmitted")


async def _send_after_answer(trial: Trial) -> None:
    system = trial.system
    trial.slow_sink()
    await system.restart(EDGE, {"K_EDGE_CAPACITY": "30"})
    try:
        pid = await system.arm("send", "send.answered=kill")
        await trial.send()
        await system.until_ended("send", pid)
        trial.healed()
        await asyncio.sleep(0.5)
    finally:
        await system.restart(EDGE, {"K_EDGE_CAPACITY": ""})


CASES: Final = (
    Case(
        "1",
        "gateway killed before it commits",
        "one Batch, all delivered once",
        _gateway_before_commit,
        _all_delivered,
    ),
    Case(
        "2",
        "gateway killed after the commit, before announcing and replying; the client repeats",
        "one Batch, all delivered once",
        _gateway_after_commit,
        _all_delivered,
    ),
    Case(
        "3",
        "dispatch killed between publish and commit",
        "no extra copy",
        _dispatch_published,
        _all_delivered,
    ),
    Case("4", "dispatch killed while it builds", "no extra copy", _dispatch_building, _all_delivered),
    Case("5", "edge killed before the final dot", "no extra copy", _edge_before_dot, _all_delivered),
    Case("6", "edge killed between dot and 250", "ambiguous ones once more", _edge_after_dot, _after_dot),
    Case(
        "7", "edge killed between 250 and the result's fsync", "that one once more", _edge_replied, _one_extra
    ),
    Case(
        "8", "edge killed between journal and publish", "no extra copy", _edge_journalled, _nothing_ambiguous
    ),
    Case(
        "9", "stats killed between commit and ack", "the counts are right", _stats_committed, _all_delivered
    ),
    Case(
        "26",
        "the journal's volume is lost",
        "what it may have sent is ambiguous",
        _edge_volume_lost,
        _volume_lost,
    ),
    Case(
        "27a", "send killed after the edge answered untaken", "no extra copy", _send_after_answer, _no_extra
    ),
)
