"""What the source does after an answer, as a table."""

import pytest

from kannon.core.answers import Answer, Fault
from nats_source.delivery import (
    Action,
    Bury,
    Done,
    Pace,
    Part,
    Split,
    TryAgain,
    WaitOut,
    decide,
)

PACE = Pace()
CHUNK = Part(0, 100)
ITEM = Part(7, 8)
WITHOUT_ITEMS = Part(0, 0)


def decided(answer: Answer, part: Part = CHUNK, failures: int = 0, waits: int = 0) -> Action:
    return decide(answer, part, failures, waits, PACE, chance=1.0)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_success_is_done(status: int) -> None:
    assert decided(Answer(status)) == Done()


@pytest.mark.parametrize("outcome", [301, 302, 401, 403, 404, 408, 409, 429, 503, Fault.UNREACHED])
@pytest.mark.parametrize("part", [CHUNK, ITEM, WITHOUT_ITEMS])
def test_what_is_away_or_busy_is_waited_out_for_ever(outcome: int | Fault, part: Part) -> None:
    assert decided(Answer(outcome), part, failures=2, waits=0) == WaitOut(0.1)
    assert decided(Answer(outcome), part, failures=2, waits=10_000) == WaitOut(15.0)


@pytest.mark.parametrize("outcome", [500, 501, 502, 504, 599, Fault.TIMED_OUT, Fault.BROKEN_OFF])
def test_failures_are_counted_then_split_then_buried(outcome: int | Fault) -> None:
    answer = Answer(outcome)
    for part in (CHUNK, ITEM, WITHOUT_ITEMS):
        assert decided(answer, part, failures=0) == TryAgain(1.0)
        assert decided(answer, part, failures=1) == TryAgain(3.0)
    assert decided(answer, CHUNK, failures=2) == Split()
    assert decided(answer, ITEM, failures=2) == Bury(answer.reason, answer.status)
    assert decided(answer, WITHOUT_ITEMS, failures=2) == Bury(answer.reason, answer.status)


@pytest.mark.parametrize("outcome", [400, 405, 410, 413, 415, 422, Fault.UNSENDABLE])
def test_what_is_never_valid_is_buried_whole_at_once(outcome: int | Fault) -> None:
    answer = Answer(outcome, text="signature: not ours")
    assert decided(answer, CHUNK) == Bury(answer.reason, answer.status)
    assert "signature: not ours" in answer.reason


@pytest.mark.parametrize(
    ("retry_after", "waits", "pause"),
    [(0.0, 0, 0.1), (0.0, 3, 0.8), (2.0, 0, 2.0), (2.0, 6, 6.4), (9.0, 6, 9.0), (3600.0, 0, 30.0)],
)
def test_the_pause_is_the_longer_of_backoff_and_retry_after(
    retry_after: float, waits: int, pause: float
) -> None:
    assert decided(Answer(503, retry_after), waits=waits) == WaitOut(pytest.approx(pause))  # type: ignore[arg-type]


def test_pauses_are_spread_over_their_upper_half() -> None:
    pauses = [decide(Answer(503), CHUNK, 0, 4, PACE, chance) for chance in (0.0, 0.5, 1.0)]
    assert pauses == [WaitOut(pytest.approx(pause)) for pause in (0.8, 1.2, 1.6)]  # type: ignore[arg-type]


def test_halves_cover_every_item_once_down_to_single_ones() -> None:
    parts, items = [Part(0, 101)], []
    while parts:
        part = parts.pop()
        if part.is_divisible:
            parts.extend(part.halves())
        else:
            items.append(part.start)
            assert part.stop == part.start + 1
    assert sorted(items) == list(range(101))
