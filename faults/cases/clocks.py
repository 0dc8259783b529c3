"""The system's own clocks are set forward and back while it works."""

from typing import Final

from faults.invariants import Evidence
from faults.sink import Behaviour
from faults.trial import Case, Trial
from kannon.cli.standalone.plan import EDGE, GATEWAY

HOUR: Final = 3600
_POINTS: Final = {
    GATEWAY: "gateway.committed",
    "dispatch": "dispatch.published",
    EDGE: "edge.before-dot",
    "stats": "stats.committed",
}


async def _stepped(trial: Trial, parts: dict[str, int], *, refused_once: bool) -> None:
    system = trial.system
    trial.notes.append("PostgreSQL's and NATS's clocks stay as they are")
    for part, step in parts.items():
        number = trial.random.randint(1, 60) if part == EDGE else 1
        await system.arm(part, f"{_POINTS[part]}=step:{step}@{number}")
    if refused_once:
        trial.main.behave = lambda _recipient, tries: Behaviour(
            rcpt="451 4.3.0 later" if tries == 1 and trial.random.random() < 0.2 else "", delay=0.02
        )
    else:
        trial.slow_sink(0.02)
    try:
        await trial.send()
        trial.healed()
        await trial.send()  # with clocks that were stepped before
        await trial.until_all_ended()
    finally:
        for part in parts:
            await system.restart(part)


async def _forward(trial: Trial) -> None:
    await _stepped(trial, dict.fromkeys(_POINTS, HOUR), refused_once=True)


async def _back(trial: Trial) -> None:
    await _stepped(trial, dict.fromkeys(_POINTS, -HOUR), refused_once=True)


async def _apart(trial: Trial) -> None:
    signs = [HOUR, -HOUR]
    steps = {part: trial.random.choice(signs) for part in _POINTS}
    trial.notes.append(", ".join(f"{part} {step:+}" for part, step in steps.items()))
    await _stepped(trial, steps, refused_once=False)


def _delivered_once(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")
    trial.demand(found.extra == 0, f"{found.extra} extra copies, there must be none")


CASES: Final = (
    Case("18a", "all own clocks set forward by an hour", "all delivered once", _forward, _delivered_once),
    Case("18b", "all own clocks set back by an hour", "all delivered once", _back, _delivered_once),
    Case("18c", "own clocks set an hour apart", "all delivered once", _apart, _delivered_once),
)
