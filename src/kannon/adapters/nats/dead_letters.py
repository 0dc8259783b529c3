"""Dead letters: events that no function would do, kept for people to look at."""

import re
from collections.abc import Mapping
from typing import Final

from kannon.adapters.nats.connection import Connection
from kannon.adapters.nats.consumer import Pulled
from kannon.adapters.nats.publisher import MESSAGE_ID, StreamMissing, store
from kannon.adapters.nats.streams import DLQ_PREFIX, ensure_streams
from kannon.events import SUBJECT_PREFIX

REASON: Final = "kannon-reason"
STATUS: Final = "kannon-status"
ITEM: Final = "kannon-item"
STREAM: Final = "kannon-stream"
SEQUENCE: Final = "kannon-seq"
OMITTED: Final = "kannon-omitted"
RANGE: Final = "kannon-items"
"""Of an event that was a dead letter and is tried again: `<start>-<stop>`, half-open, the items to handle."""

_HEADER_ROOM: Final = 16384
_NAME: Final = re.compile(r"(?!Nats-|kannon-)[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""Names that may be sent again: tokens (RFC 9110 §5.6.2), and not what tells NATS, or us, what to do."""


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an event that are its own."""
    return {name: value for name, value in headers.items() if _NAME.fullmatch(name)}


class DeadLetters:
    """Writes to KANNON_DLQ, subject `kannon.v1.dlq.<event name>`.

    A letter is the event as it came, whole, with these headers beside its own:

    - `kannon-reason`: why, in words; `kannon-status`: the last HTTP status, or `none`;
    - `kannon-item`: the item that failed, or `<start>-<stop>`, half-open; absent for an event without items;
    - `kannon-stream`, `kannon-seq`: where it stood;
    - `kannon-omitted`: its size, if the data is left out because NATS takes no larger letter.

    Args:
        replicas: for streams that are found missing.
    """

    def __init__(self, connection: Connection, replicas: int = 1) -> None:
        self._connection = connection
        self._replicas = replicas

    async def bury(self, event: Pulled, *, reason: str, status: int | None, item: str = "") -> None:
        """Keep `event` as a dead letter, and wait until it is stored.

        Raises:
            EventsUnavailable: it is not known to be stored; the event must not be acknowledged yet.
        """
        subject = f"{DLQ_PREFIX}{event.subject.removeprefix(SUBJECT_PREFIX)}"
        headers = plain_headers(event.headers) | {
            REASON: reason,
            STATUS: str(status or "none"),
            STREAM: event.stream,
            SEQUENCE: str(event.seq),
            MESSAGE_ID: f"{event.stream}/{event.seq}/{event.headers.get('ce-id', '')}/{item}",
        }
        if item:
            headers[ITEM] = item
        data = event.data
        if len(data) + _HEADER_ROOM > self._connection.client.max_payload:
            headers[OMITTED] = str(len(data))
            data = b""
        try:
            await store(self._connection, subject, data, headers)
        except StreamMissing:
            await ensure_streams(self._connection.js, self._replicas, consumers=False)
            await store(self._connection, subject, data, headers)
