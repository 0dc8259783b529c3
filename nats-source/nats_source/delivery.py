"""What is to be done after an event, or a part of it, was posted: decided here, and nowhere else.

| answer                                        | what is done                                       |
|-----------------------------------------------|----------------------------------------------------|
| 2xx                                           | done                                               |
| 401 403 404 408 409 429 503, 3xx, not reached | waited out, for as long as it takes                |
| 500, other 5xx, no answer in time, broken off | counted; then a chunk is split, one item is buried |
| other 4xx; cannot be said in HTTP             | buried                                             |
"""

from dataclasses import dataclass

from kannon.core.answers import WAITED_OUT, Answer, Fault


@dataclass(frozen=True, slots=True)
class Part:
    """The items of an event from `start` up to `stop`; an event without items is one part from 0 to 0."""

    start: int
    stop: int

    @property
    def is_divisible(self) -> bool:
        """Whether it holds several items."""
        return self.stop - self.start > 1

    def halves(self) -> tuple["Part", "Part"]:
        """It in two."""
        middle = (self.start + self.stop) // 2
        return Part(self.start, middle), Part(middle, self.stop)

    def __str__(self) -> str:
        """As `Kannon-Items` says it."""
        return f"{self.start}-{self.stop}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient we are; all in seconds.

    Attributes:
        wait: the first pause when something is waited out; each one more doubles it, up to `max_wait`.
        max_retry_after: of what a function asks for, at the most; a mail is owed soon after it is back.
        after_failure: the first pause after a counted failure; each one more triples it.
        max_failures: of one part, after which it is split or buried.
        hold: what was waited out longer than this is given back to its stream meanwhile, so that what comes
            behind it gets its turn: one edge that is away must not hold up the mail of the others.
    """

    wait: float = 0.1
    max_wait: float = 15.0
    max_retry_after: float = 30.0
    after_failure: float = 1.0
    max_failures: int = 3
    hold: float = 10.0


@dataclass(frozen=True, slots=True)
class Done:
    """The function did it."""


@dataclass(frozen=True, slots=True)
class WaitOut:
    """Something is away or busy: try again after `pause` seconds, uncounted."""

    pause: float


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It failed: try again after `pause` seconds, counted."""

    pause: float


@dataclass(frozen=True, slots=True)
class Split:
    """It failed too often: go on with its halves."""


@dataclass(frozen=True, slots=True)
class Bury:
    """It will never be done."""

    reason: str
    status: int | None


Action = Done | WaitOut | TryAgain | Split | Bury


def decide(answer: Answer, part: Part, failures: int, waits: int, pace: Pace, chance: float) -> Action:
    """What to do after `part` was posted.

    Args:
        failures: counted before, of this part.
        waits: how often this event was waited out before.
        chance: from 0.0 up to 1.0; spreads the pauses over their upper half.
    """
    match answer.outcome:
        case int(status) if 200 <= status < 300:
            return Done()
        case Fault.UNREACHED:
            return WaitOut(_pause(pace.wait, 2.0, waits, answer, pace, chance))
        case int(status) if status in WAITED_OUT or status < 400:
            return WaitOut(_pause(pace.wait, 2.0, waits, answer, pace, chance))
        case Fault.TIMED_OUT | Fault.BROKEN_OFF:
            return _failed(answer, part, failures, pace, chance)
        case int(status) if status >= 500:
            return _failed(answer, part, failures, pace, chance)
    return Bury(answer.reason, answer.status)


def _failed(answer: Answer, part: Part, failures: int, pace: Pace, chance: float) -> Action:
    if failures + 1 < pace.max_failures:
        return TryAgain(_pause(pace.after_failure, 3.0, failures, answer, pace, chance))
    return Split() if part.is_divisible else Bury(answer.reason, answer.status)


def _pause(first: float, factor: float, times: int, answer: Answer, pace: Pace, chance: float) -> float:
    backoff: float = min(first * factor ** min(times, 20), pace.max_wait)
    return max(backoff * (1 + chance) / 2, min(answer.retry_after, pace.max_retry_after))
