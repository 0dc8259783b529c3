"""Of which rows a range is made up: each hour is in exactly one, and they are few."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kannon.core.grains import Grain, Piece, floor_of, pieces

HOUR = timedelta(hours=1)
EPOCH = datetime(2025, 11, 20, tzinfo=UTC)
MOMENTS = st.integers(0, 3 * 365 * 24 * 60).map(lambda minute: EPOCH + timedelta(minutes=minute))


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@given(MOMENTS, MOMENTS, MOMENTS, MOMENTS)
def test_pieces_follow_one_another_and_hold_just_the_hours_that_begin_in_the_range(
    start: datetime, end: datetime, days: datetime, months: datetime
) -> None:
    until = {Grain.DAY: floor_of(days, Grain.DAY), Grain.MONTH: floor_of(months, Grain.MONTH)}
    parts = pieces(start, end, until)
    for part, following in pairwise(parts):
        assert part.end == following.start
    for part in parts:
        assert part.start < part.end
        assert part.end <= until.get(part.grain, part.end)
        assert floor_of(part.start, part.grain) == part.start
        assert floor_of(part.end, part.grain) == part.end
    hours = [part.start for part in parts if part][:1] + [part.end - HOUR for part in parts][-1:]
    assert all(start <= hour < end for hour in hours)
    if not parts:
        assert floor_of(end - timedelta(microseconds=1), Grain.HOUR) < start or start >= end
        return
    assert parts[0].start - HOUR < start <= parts[0].start
    assert parts[-1].end - HOUR < end <= parts[-1].end


def test_a_long_range_is_made_of_few_rows() -> None:
    until = {Grain.DAY: at(2026, 12, 2), Grain.MONTH: at(2026, 12, 1)}
    assert pieces(at(2026, 1, 30, 22, 30), at(2026, 12, 2, 1), until) == (
        Piece(Grain.HOUR, at(2026, 1, 30, 23), at(2026, 1, 31)),
        Piece(Grain.DAY, at(2026, 1, 31), at(2026, 2, 1)),
        Piece(Grain.MONTH, at(2026, 2, 1), at(2026, 12, 1)),
        Piece(Grain.DAY, at(2026, 12, 1), at(2026, 12, 2)),
        Piece(Grain.HOUR, at(2026, 12, 2), at(2026, 12, 2, 1)),
    )


def test_the_widest_range() -> None:
    start, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    parts = pieces(start, end, {Grain.DAY: EPOCH, Grain.MONTH: floor_of(EPOCH, Grain.MONTH)})
    assert (parts[0].start, parts[-1].end.year) == (start, 9999)
