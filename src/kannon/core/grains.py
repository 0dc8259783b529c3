"""How long a row of the rollups is, and of which rows a range is made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final


class Grain(StrEnum):
    """How long a row of the rollups is; the longest first."""

    MONTH = "month"
    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a range that rows of one grain make up."""

    grain: Grain
    start: datetime
    end: datetime


def pieces(start: datetime, end: datetime, until: Mapping[Grain, datetime]) -> Sequence[Piece]:
    """The hours that begin in [start, end), in as few rows as may be: whole months, whole days, and hours.

    Args:
        until: up to when there are rows of the longer grains; without one there are none.
    """
    first, last = _upwards(start, Grain.HOUR), _upwards(end, Grain.HOUR)
    return _divided(first, last, tuple(Grain), until)


def _divided(
    start: datetime, end: datetime, grains: Sequence[Grain], until: Mapping[Grain, datetime]
) -> Sequence[Piece]:
    if start >= end:
        return ()
    grain, *finer = grains
    if not finer:
        return (Piece(grain, start, end),)
    inner_start, inner_end = _upwards(start, grain), floor_of(min(end, until.get(grain, start)), grain)
    if inner_start >= inner_end:
        return _divided(start, end, finer, until)
    before, after = _divided(start, inner_start, finer, until), _divided(inner_end, end, finer, until)
    return (*before, Piece(grain, inner_start, inner_end), *after)


def floor_of(at: datetime, grain: Grain) -> datetime:
    """The start of the hour, day or month, UTC, that `at` is in."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if grain is Grain.HOUR:
        return hour
    day = hour.replace(hour=0)
    return day if grain is Grain.DAY else day.replace(day=1)


def _upwards(at: datetime, grain: Grain) -> datetime:
    floor = floor_of(at, grain)
    if floor == at:
        return floor
    # 32 days from the first of a month are in the next one.
    step = {Grain.HOUR: timedelta(hours=1), Grain.DAY: timedelta(days=1), Grain.MONTH: timedelta(days=32)}
    return floor_of(floor + step[grain], grain) if floor < _LAST else floor


_LAST: Final = datetime(9999, 11, 1, tzinfo=UTC)
"""There is no month behind it to step to: ranges end here."""
