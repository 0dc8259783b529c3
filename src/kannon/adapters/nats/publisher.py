"""Publishes events, and tells how full and how old the streams are."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import nats.js.errors
from nats.js.api import StreamInfo

from kannon.adapters.nats.connection import API_TIMEOUT, Connection, translated
from kannon.adapters.nats.streams import STAGES, Stream, ensure_streams, stream_of
from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import AnyPayload, Outcomes
from kannon.events import CloudEvent, Sealer, items_of, name_of, subject_of
from kannon.ports import Clock, StreamState
from kannon.telemetry.catalogue import OUTCOMES, PUBLISHED_EVENTS, PUBLISHED_ITEMS

MESSAGE_ID: Final = "Nats-Msg-Id"
_HEADER_ROOM: Final = 8192
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_NOT_PLAIN: Final = re.compile(r'[^\x21-\x7e]|["%]')


def headers_of(event: CloudEvent) -> dict[str, str]:
    """The attributes of `event` as headers (CloudEvents 1.0, NATS binding §3.1: binary mode)."""
    attributes = event.attributes()
    content_type = attributes.pop("datacontenttype", "")
    headers = {f"ce-{name}": _encoded(value) for name, value in attributes.items()}
    return headers | {"content-type": content_type} if content_type else headers


class NatsPublisher:
    """Publishes to JetStream, as many events at once as like.

    Args:
        sealer: signs what is published.
        replicas: for streams that are found missing.
    """

    def __init__(self, connection: Connection, sealer: Sealer, clock: Clock, replicas: int = 1) -> None:
        self._connection = connection
        self._sealer = sealer
        self._clock = clock
        self._replicas = replicas
        self._mending = asyncio.Lock()
        self._mended = 0

    async def publish(self, payload: AnyPayload, traceparent: str = "") -> int:
        """Publish, and wait until the stream has stored it; a repeat of an event is stored once.

        Returns:
            The sequence number in its stream.

        Raises:
            EventsUnavailable: NATS is away, or the stream is full; nothing is known to be stored.
        """
        event = self._sealer.seal(payload, self._clock(), traceparent)
        try:
            sequence = await self._store(payload, event)
        except EventsUnavailable:
            PUBLISHED_EVENTS.add(1, name_of(payload), "refused")
            raise
        _count(payload)
        return sequence

    async def _store(self, payload: AnyPayload, event: CloudEvent) -> int:
        headers = headers_of(event) | {MESSAGE_ID: event.id}
        mended = self._mended
        try:
            return await store(self._connection, subject_of(payload), event.data, headers)
        except StreamMissing:
            await self._mend(mended)
            return await store(self._connection, subject_of(payload), event.data, headers)

    async def _mend(self, seen: int) -> None:
        # Many publishings may find the stream missing together; one of them makes it.
        async with self._mending:
            if self._mended == seen:
                await ensure_streams(self._connection.js, self._replicas, consumers=False)
                self._mended += 1


def _count(payload: AnyPayload) -> None:
    name, items = name_of(payload), len(items_of(payload))
    PUBLISHED_EVENTS.add(1, name, "stored")
    if items:
        PUBLISHED_ITEMS.add(items, name)
    if isinstance(payload, Outcomes):
        OUTCOMES.add(items, payload.outcome)


class StreamMissing(EventsUnavailable):
    """No stream takes this subject."""


async def store(connection: Connection, subject: str, data: bytes, headers: dict[str, str]) -> int:
    """Publish one message and wait until a stream has stored it.

    Returns:
        The sequence number in its stream.

    Raises:
        StreamMissing: there is no stream for `subject`.
        EventsUnavailable: not stored, as far as is known.
    """
    # Asked here, because the client would register the reply it waits for before it finds out.
    if not connection.is_up:
        raise EventsUnavailable(f"{subject}: NATS is away")
    if len(data) + _HEADER_ROOM > connection.client.max_payload:
        raise EventsUnavailable(f"{subject}: larger than NATS takes")
    with translated(subject):
        try:
            ack = await connection.js.publish(subject, data, timeout=API_TIMEOUT, headers=headers)
        except nats.js.errors.NoStreamResponseError:
            raise StreamMissing(f"{subject}: there is no stream") from None
    return int(ack.seq)


class NatsStreams:
    """How full the stages' streams are, and which incarnation of them is there.

    Args:
        replicas: for streams that are found missing.
    """

    def __init__(self, connection: Connection, replicas: int = 1) -> None:
        self._connection = connection
        self._replicas = replicas
        self._ensured = False

    async def fullness(self, kind: type[AnyPayload]) -> float:
        """From 0.0 (empty) to 1.0 (refuses more), of the stream that takes `kind`; missing is empty.

        Raises:
            EventsUnavailable: NATS is away.
        """
        info = await self._info(stream_of(kind))
        return fullness_of(info) if info else 0.0

    async def waiting(self, kind: type[AnyPayload]) -> int:
        """Messages of just this kind that wait in the stream; raises EventsUnavailable."""
        subject = subject_of(kind)
        stream = stream_of(kind)
        info = await self._info(stream, subject if subject in stream.subjects else f"{subject}.>")
        return sum((info.state.subjects or {}).values()) if info else 0

    async def states(self) -> Sequence[StreamState]:
        """Every stage's stream, made if it is missing; raises EventsUnavailable."""
        if not self._ensured:
            await ensure_streams(self._connection.js, self._replicas, consumers=False)
            self._ensured = True
        return [await self._state(stream) for stream in STAGES.values()]

    async def _state(self, stream: Stream) -> StreamState:
        info = await self._info(stream)
        if info is None:
            await ensure_streams(self._connection.js, self._replicas, consumers=False)
            info = await self._info(stream)
        if info is None:
            raise EventsUnavailable(f"stream {stream.name}: made, but not there")
        return StreamState(stream.name, str(info.created), info.state.last_seq)

    async def _info(self, stream: Stream, subjects: str = "") -> StreamInfo | None:
        if not self._connection.is_up:
            raise EventsUnavailable(f"stream {stream.name}: NATS is away")
        with translated(f"stream {stream.name}"):
            try:
                return await self._connection.js.stream_info(stream.name, subjects or None)
            except nats.js.errors.NotFoundError:
                return None


def fullness_of(info: StreamInfo) -> float:
    """From 0.0 (empty) to 1.0 (full), by messages or by octets."""
    limits = info.config
    bytes_used = info.state.bytes / (limits.max_bytes or 1)
    messages_used = info.state.messages / (limits.max_msgs or 1)
    return min(1.0, max(bytes_used, messages_used, 0.0))


def _encoded(value: str) -> str:
    # CloudEvents HTTP binding §3.1.3.2: what is not printable ASCII, blank, double quote and percent.
    return quote(value, safe=_PLAIN) if _NOT_PLAIN.search(value) else value
