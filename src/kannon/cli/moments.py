"""Moments as people write them: a date, or a span from now. Each of these is a `type` of an option."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

METAVAR: Final = "SPAN|DATE"
_FORMS: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ")
_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class _Unit:
    seconds: int
    up_to: int


_SHOWN: Final = {"s": _Unit(1, 90), "min": _Unit(60, 90 * 60), "h": _Unit(3600, 36 * 3600)}


def moment_ahead(text: str) -> datetime:
    """Read `2027-01-01` or `2027-01-01T12:00:00`, in UTC, or a span from now on, `90m`, `12h`, `30d` or `4w`.

    Raises:
        click.BadParameter: it is neither.
    """
    return _read(text, forwards=1)


def moment_past(text: str) -> datetime:
    """The same, but a span counts back from now; raises click.BadParameter."""
    return _read(text, forwards=-1)


def moment_text(moment: "Timestamp") -> str:
    """A moment as tables show it, to the second: `2027-01-01T12:00:00Z`."""
    return moment.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span_text(seconds: float) -> str:
    """A span for people, in its largest unit that is not too coarse: `40 s`, `3 min`, `5 h`, `3 days`."""
    for unit, size in _SHOWN.items():
        if seconds < size.up_to:
            return f"{max(0, round(seconds / size.seconds))} {unit}"
    return f"{round(seconds / 86400)} days"


def _read(text: str, forwards: int) -> datetime:
    if span := re.fullmatch(r"(\d{1,9})([mhdw])", text, re.ASCII):
        try:
            return datetime.now(UTC) + forwards * int(span[1]) * _UNITS[span[2]]
        except OverflowError:
            raise click.BadParameter(f"{text} is too long") from None
    for form in _FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise click.BadParameter(f"{text!r} is neither a span like 30d or 12h nor a date like 2027-01-01")
