"""Outcomes as lines of text, for files."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from kannon.core.statistics import Event

COLUMNS: Final = (
    *("at", "type", "message_id", "delivery", "email", "attempt", "code", "enhanced", "text", "exchanger"),
    *("category", "url", "ip", "user_agent", "tracking_mode", "machine"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula begins so."""


class Lines(Protocol):
    """Writes Outcomes, each a line."""

    def heading(self) -> bytes:
        """What comes first; may be empty."""

    def write(self, events: Iterable[Event]) -> bytes:
        """The lines of some Outcomes."""


class JsonLines:
    """JSON Lines: an object with all columns each."""

    def heading(self) -> bytes:
        """Nothing."""
        return b""

    def write(self, events: Iterable[Event]) -> bytes:
        """See `Lines`."""
        return b"".join(
            msgspec.json.encode(dict(zip(COLUMNS, row_of(event), strict=True))) + b"\n" for event in events
        )


class CsvLines:
    """CSV (RFC 4180). Strangers choose some of the texts, so none of them may be a formula: those have an
    apostrophe before them."""

    def heading(self) -> bytes:
        """The names of the columns."""
        return self._lines([COLUMNS])

    def write(self, events: Iterable[Event]) -> bytes:
        """See `Lines`."""
        return self._lines([_harmless(value) for value in row_of(event)] for event in events)

    def _lines(self, rows: Iterable[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()


def row_of(event: Event) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    data = event.data
    return (
        event.at.isoformat(),
        event.type,
        event.message_id,
        str(event.delivery) if event.delivery else "",
        event.email,
        event.attempt,
        data.get("code") or 0,
        data.get("enhanced") or "",
        data.get("msg") or "",
        data.get("exchanger") or "",
        data.get("category") or data.get("reason") or "",
        data.get("url") or "",
        data.get("ip") or "",
        data.get("user_agent") or "",
        event.mode.name.lower() if event.mode else "",
        event.machine,
    )


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
