"""Points at which a fault test may break a process; nothing happens at them unless one is armed.

They stand here so that every room can name its own. What happens at an armed one is not decided here, but by
`kannon.runtime.failpoints`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

POINTS: Final[Mapping[str, str]] = {
    "gateway.committing": "the Batch is written, and not committed",
    "gateway.committed": "the Batch is committed, neither announced nor answered",
    "dispatch.building": "an Envelope is about to be built",
    "dispatch.published": "Envelopes are published, their rows not committed",
    "send.answered": "the edge answered; what is untaken is not published",
    "edge.before-intent": "the message is sent but its final dot; no intent in the journal",
    "edge.before-dot": "the intent is in the journal, the final dot not sent",
    "edge.replied": "the reply is read, its result not in the journal",
    "edge.journalled": "results are in the journal, and not published",
    "stats.committed": "results are committed, and not acknowledged",
}
_FORM: Final = re.compile(r"([a-z.-]+)=(kill|step:[+-]?\d{1,6})(?:@(\d{1,6}))?")
_at_point: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Failpoint:
    """What is to happen at a point.

    Attributes:
        passing: at which passing, from 1.
        step: seconds by which the clock is set forward or back; None to kill the process.
    """

    point: str
    passing: int
    step: int | None = None


def passing(point: str) -> None:
    """The process is at `point`, one of POINTS."""
    if _at_point is not None:
        _at_point(point)


def arm(at_point: Callable[[str], None] | None) -> None:
    """Call `at_point` at every point from now on; None disarms them."""
    global _at_point
    _at_point = at_point


def parse_failpoints(text: str) -> tuple[Failpoint, ...]:
    """Read `point=kill@3,point=step:-3600`: what happens at which passing, the first where none is named.

    Raises:
        ValueError: `text` has another form, or there is no such point.
    """
    return tuple(_parse_one(part.strip()) for part in text.split(",") if part.strip())


def _parse_one(text: str) -> Failpoint:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form point=kill@3 or point=step:-3600@3")
    point, action, number = match.groups()
    if point not in POINTS:
        raise ValueError(f"there is no point {point!r}; there are {', '.join(POINTS)}")
    step = int(action.removeprefix("step:")) if action != "kill" else None
    return Failpoint(point, int(number or 1), step)
