"""A dead letter: an event that a source gave up, and what is needed to look at it and to try it again."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

_EVENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")
_ITEM: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class Retried(StrEnum):
    """What came of trying a dead letter again; all but the first say why it was not."""

    DONE = "in its stream again"
    GONE = "there is no such letter"
    OMITTED = "its data was too large to be kept"
    UNKNOWN = "no stage takes events of that name"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One, without its event's data.

    Attributes:
        sequence: its name, a number that no other letter gets.
        event: the event's name, like `batch.accepted`.
        attributes: those of the CloudEvent, `datacontenttype` included; none if it was no CloudEvent.
        reason: why it was given up, in words.
        status: the HTTP status that the stage answered last; None if it did not.
        item: the item that failed, or several as `<start>-<stop>`, half-open; empty: the event as a whole.
        stream: where it stood, under `stream_sequence`.
        size: octets of its data.
        is_omitted: whether the data was too large to be kept.
    """

    sequence: int
    buried_at: datetime
    event: str
    attributes: Mapping[str, str]
    reason: str
    status: int | None
    item: str
    stream: str
    stream_sequence: int
    size: int
    is_omitted: bool = False

    @property
    def items(self) -> int:
        """How many items the event says it has."""
        written = self.attributes.get("itemcount", "")
        return int(written) if re.fullmatch(r"[0-9]{1,5}", written) else 0


def range_of(item: str) -> str:
    """The items of a letter as a source asks for them, `<start>-<stop>`; empty for a whole event."""
    written = _ITEM.fullmatch(item)
    if not written:
        return ""
    return f"{written[1]}-{written[2] or int(written[1]) + 1}"


def is_event_name(text: str) -> bool:
    """Whether an event may have this name; it then holds no wildcard of NATS."""
    return bool(_EVENT.fullmatch(text))
