"""Moments as people write them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
import pytest

from api_gateway.timestamps import write_timestamp
from kannon.cli.moments import moment_ahead, moment_past, moment_text

Reader = Callable[[str], datetime]


@pytest.mark.parametrize("read", [moment_ahead, moment_past])
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T12:30:00", datetime(2027, 1, 1, 12, 30, tzinfo=UTC)),
        ("2027-01-01T12:30:00Z", datetime(2027, 1, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_in_utc(read: Reader, text: str, moment: datetime) -> None:
    assert read(text) == moment


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("4w", timedelta(weeks=4)),
    ],
)
def test_a_span_counts_from_now(text: str, span: timedelta) -> None:
    now = datetime.now(UTC)
    assert timedelta() <= moment_ahead(text) - now - span < timedelta(seconds=5)
    assert timedelta() <= moment_past(text) - now + span < timedelta(seconds=5)


@pytest.mark.parametrize(
    "text", ["", "soon", "30", "d", "-3d", "1.5h", "3 d", "3D", "2027-13-01", "2027-1-1T5"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a span like 30d"):
        moment_ahead(text)


def test_so_is_a_span_beyond_all_calendars() -> None:
    for read in (moment_ahead, moment_past):
        with pytest.raises(click.BadParameter, match="999999999w"):
            read("999999999w")


def test_a_moment_is_shown_to_the_second() -> None:
    moment = write_timestamp(datetime(2027, 1, 1, 12, 30, 5, 999_999, tzinfo=UTC))
    assert moment_text(moment) == "2027-01-01T12:30:05Z"
