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


def facts_of(event: Event) -> dict[str, Any]:
    """What is known of an Outcome, by the names that API and files have for it; time and tracking mode are
    written differently in each."""
    data = event.data
    code = data.get("code")
    texts = {
        "enhanced": data.get("enhanced"),
        "text": data.get("msg"),
        "exchanger": data.get("exchanger"),
        "category": data.get("category") or data.get("reason"),
        "url": data.get("url"),
        "ip": data.get("ip"),
        "user_agent": data.get("user_agent"),
    }
    return {
        "type": event.type,
        "message_id": event.message_id,
        "delivery": str(event.delivery) if event.delivery else "",
        "email": event.email,
        "attempt": event.attempt,
        "code": code if isinstance(code, int) else 0,
        **{name: str(text or "") for name, text in texts.items()},
        "machine": event.machine,
    }


def row_of(event: Event) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    mode = event.mode.name.lower() if event.mode else ""
    facts = facts_of(event) | {"at": event.at.isoformat(), "tracking_mode": mode}
    return tuple(facts[name] for name in COLUMNS)


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
