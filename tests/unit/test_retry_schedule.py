"""How long deferred Deliveries wait, and when their Retry Budget is spent."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.core.retries import (
    GREYLISTED,
    JITTER,
    LONGEST_GREYLISTED_WAIT,
    RetrySchedule,
    next_attempt_at,
)
from tests.mail import NOW

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DEFAULT = RetrySchedule(base=2 * MINUTE, least=5 * MINUTE, most=4 * HOUR)
BUDGET = timedelta(hours=24)

attempts = st.integers(1, 32_767)
chances = st.floats(0, 1, exclude_max=True)
categories = st.sampled_from([GREYLISTED, "temporary", "connection", ""])


def waits(category: str, count: int, chance: float = 0.0) -> list[timedelta]:
    return [DEFAULT.wait_after(attempt, category, chance) for attempt in range(1, count + 1)]


def test_waits_double_from_the_shortest_to_the_longest() -> None:
    minutes = [wait / MINUTE for wait in waits("temporary", 8)]
    assert minutes == [5, 8, 16, 32, 64, 128, 192, 192]
    assert DEFAULT.wait_after(8, "temporary", 1.0) == 4 * HOUR


def test_greylisting_has_a_shorter_schedule_of_its_own() -> None:
    assert [wait / MINUTE for wait in waits(GREYLISTED, 6)] == [2, 4, 8, 16, 24, 24]
    assert all(grey < other for grey, other in zip(waits(GREYLISTED, 9), waits("temporary", 9), strict=True))


@given(attempts, categories, chances)
def test_every_wait_is_within_its_bounds(attempt: int, category: str, chance: float) -> None:
    wait = DEFAULT.wait_after(attempt, category, chance)
    grey = category == GREYLISTED
    assert (DEFAULT.base if grey else DEFAULT.least) <= wait
    assert wait <= (LONGEST_GREYLISTED_WAIT if grey else DEFAULT.most)


@given(attempts, categories)
def test_what_was_deferred_together_comes_back_apart(attempt: int, category: str) -> None:
    soonest, latest = (DEFAULT.wait_after(attempt, category, chance) for chance in (0.0, 1.0))
    assert latest > soonest
    assert latest <= soonest * (1 + JITTER) + timedelta(microseconds=1)


@given(st.lists(chances, min_size=1, max_size=400), categories)
def test_attempts_are_spaced_and_end_with_the_budget(drawn: list[float], category: str) -> None:
    now, times = NOW, [NOW]
    for attempt, chance in enumerate(drawn * 400, 1):
        following = next_attempt_at(now, DEFAULT.wait_after(attempt, category, chance), DEFAULT, NOW + BUDGET)
        if following is None:
            break
        now = following
        times.append(now)
    assert following is None, "the budget ends"
    assert len(times) <= BUDGET / LONGEST_GREYLISTED_WAIT * (1 + JITTER) + 6
    assert all(later - earlier >= DEFAULT.base for earlier, later in pairwise(times))
    assert NOW + BUDGET - DEFAULT.base < times[-1] <= NOW + BUDGET, "and none of it is given away"


@pytest.mark.parametrize(
    ("wait", "left", "expected"),
    [
        (5 * MINUTE, HOUR, 5 * MINUTE),
        (2 * HOUR, HOUR, HOUR),
        (2 * HOUR, 2 * MINUTE, 2 * MINUTE),
        (2 * HOUR, MINUTE, None),
        (2 * HOUR, -MINUTE, None),
    ],
)
def test_a_wait_is_cut_to_what_is_left_unless_that_is_too_little(
    wait: timedelta, left: timedelta, expected: timedelta | None
) -> None:
    at = next_attempt_at(NOW, wait, DEFAULT, NOW + left)
    assert at == (None if expected is None else NOW + expected)
