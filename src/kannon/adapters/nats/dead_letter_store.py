"""Dead letters looked at, tried again and dropped: implements `ports.DeadLetterStore`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote

import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy

from kannon.adapters.nats.connection import API_TIMEOUT, Connection, translated
from kannon.adapters.nats.dead_letters import (
    ITEM,
    OMITTED,
    RANGE,
    REASON,
    SEQUENCE,
    STATUS,
    STREAM,
    plain_headers,
)
from kannon.adapters.nats.publisher import MESSAGE_ID, StreamMissing, store
from kannon.adapters.nats.streams import DLQ_PREFIX, DLQ_STREAM, ensure_streams
from kannon.core.dead_letters import DeadLetter, Retried, range_of
from kannon.core.errors import EventsUnavailable
from kannon.events import SUBJECT_PREFIX
from kannon.ports import DeadLetterPage

_DOING: Final = "dead letters"
_SIZE: Final = "Nats-Msg-Size"
_NO_SEQUENCE: Final = 2**63
_FORGOTTEN_AFTER: Final = 30.0
"""Seconds after which NATS drops a reader of ours that was not taken back."""


class NatsDeadLetterStore:
    """Reads, empties and plays back KANNON_DLQ.

    Args:
        replicas: for streams that are found missing.
    """

    def __init__(self, connection: Connection, replicas: int = 1) -> None:
        self._connection = connection
        self._replicas = replicas

    async def page(self, event: str, after: int, take: int) -> DeadLetterPage:
        """See `ports.DeadLetterStore`. Reads headers alone: data may be large."""
        total, found = await self._messages(after + 1, take, event, headers_only=True)
        return DeadLetterPage([_letter(message) for message in found], total)

    async def letter(self, sequence: int) -> tuple[DeadLetter, bytes] | None:
        """See `ports.DeadLetterStore`."""
        message = await self._message(sequence)
        return (_letter(message), message.data) if message else None

    async def retry(self, sequence: int) -> Retried:
        """See `ports.DeadLetterStore`."""
        message = await self._message(sequence)
        if message is None:
            return Retried.GONE
        letter = _letter(message)
        if letter.is_omitted:
            return Retried.OMITTED
        headers = plain_headers(message.headers or {})
        # Another one than the event's own, by which its stream may know it still; and the same for each retry
        # of this letter, lest two of them put it in twice.
        headers[MESSAGE_ID] = f"{DLQ_STREAM}/{sequence}/{letter.buried_at.isoformat()}"
        if items := range_of(letter.item):
            headers[RANGE] = items
        try:
            await self._publish(f"{SUBJECT_PREFIX}{letter.event}", message.data, headers)
        except StreamMissing:
            return Retried.UNKNOWN
        await self.drop(sequence)
        return Retried.DONE

    async def drop(self, sequence: int) -> bool:
        """See `ports.DeadLetterStore`."""
        with self._asked():
            try:
                return await self._connection.js.delete_msg(DLQ_STREAM, sequence)
            except nats.js.errors.APIError:
                # NATS has one error for a message that is not there and for a disk that fails.
                if await self._message(sequence) is None:
                    return False
                raise

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        try:
            await store(self._connection, subject, data, headers)
        except StreamMissing:
            await ensure_streams(self._connection.js, self._replicas, consumers=False)
            await store(self._connection, subject, data, headers)

    async def _message(self, sequence: int) -> Msg | None:
        _, found = await self._messages(sequence, 1)
        return found[0] if found and found[0].metadata.sequence.stream == sequence else None

    async def _messages(
        self, start: int, take: int, event: str = "", *, headers_only: bool = False
    ) -> tuple[int, Sequence[Msg]]:
        """How many there are from `start` on, and the first `take` of them.

        By a consumer, for reading single messages gets headers that are not ASCII wrong.
        """
        if not 0 < start < _NO_SEQUENCE:
            return 0, []
        wanted = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=AckPolicy.NONE,
            filter_subject=f"{DLQ_PREFIX}{event or '>'}",
            headers_only=headers_only,
            inactive_threshold=_FORGOTTEN_AFTER,
            mem_storage=True,
        )
        js = self._connection.js
        with self._asked():
            try:
                reader = await js.add_consumer(DLQ_STREAM, wanted)
            except nats.js.errors.NotFoundError:
                return 0, []
            try:
                total = reader.num_pending or 0
                return total, await self._fetched(reader, min(take, total))
            finally:
                await js.delete_consumer(DLQ_STREAM, reader.name)

    async def _fetched(self, reader: ConsumerInfo, count: int) -> Sequence[Msg]:
        if not count:
            return []
        pull = await self._connection.js.pull_subscribe_bind(reader.name, DLQ_STREAM)
        try:
            return await pull.fetch(count, API_TIMEOUT)
        finally:
            await pull.unsubscribe()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        if not self._connection.is_up:
            raise EventsUnavailable(f"{_DOING}: NATS is away")
        with translated(_DOING):
            yield


def _letter(message: Msg) -> DeadLetter:
    about, headers = message.metadata, message.headers or {}
    size = headers.get(OMITTED) or headers.get(_SIZE)
    return DeadLetter(
        sequence=about.sequence.stream,
        buried_at=about.timestamp,
        event=message.subject.removeprefix(DLQ_PREFIX),
        attributes=_attributes(headers),
        reason=headers.get(REASON, ""),
        status=_number(headers.get(STATUS, ""), 3) or None,
        item=headers.get(ITEM, ""),
        stream=headers.get(STREAM, ""),
        stream_sequence=_number(headers.get(SEQUENCE, "")),
        size=_number(size) if size else len(message.data),
        is_omitted=OMITTED in headers,
    )


def _number(written: str, digits: int = 18) -> int:
    # Whoever may publish can write anything into these headers.
    return int(written) if written.isascii() and written.isdecimal() and len(written) <= digits else 0


def _attributes(headers: Mapping[str, str]) -> dict[str, str]:
    found = {
        name.removeprefix("ce-"): unquote(value) for name, value in headers.items() if name.startswith("ce-")
    }
    if "content-type" in headers:
        found["datacontenttype"] = headers["content-type"]
    return found
