"""How full the streams are, and who takes from them: implements `ports.StreamsLook`."""

import asyncio
from typing import Final

import nats.js.errors
from nats.js.api import ConsumerInfo, StreamInfo

from kannon.adapters.nats.connection import Connection, translated
from kannon.adapters.nats.dead_letter_store import NatsDeadLetterStore
from kannon.adapters.nats.publisher import fullness_of
from kannon.adapters.nats.streams import DLQ_PREFIX, DLQ_STREAM, STREAMS, Stream
from kannon.core.diagnosis import StreamDiagnosis, StreamsDiagnosis
from kannon.core.errors import EventsUnavailable

_DOING: Final = "streams"


class NatsStreamsLook:
    """Asks JetStream; makes nothing that is missing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._letters = NatsDeadLetterStore(connection)

    async def look(self) -> StreamsDiagnosis:
        """See `ports.StreamsLook`."""
        if not self._connection.is_up:
            raise EventsUnavailable(f"{_DOING}: NATS is away")
        with translated(_DOING):
            streams = await asyncio.gather(*map(self._stream, STREAMS))
            letters = await self._info(DLQ_STREAM, f"{DLQ_PREFIX}>")
        oldest = (await self._letters.page("", 0, 1)).letters
        subjects = (letters.state.subjects or {}) if letters else {}
        return StreamsDiagnosis(
            streams=tuple(streams),
            dead_letters={name.removeprefix(DLQ_PREFIX): count for name, count in subjects.items()},
            oldest_letter_at=oldest[0].buried_at if oldest else None,
        )

    async def _stream(self, stream: Stream) -> StreamDiagnosis:
        info = await self._info(stream.name)
        if info is None:
            return StreamDiagnosis(stream.name, stream.stage, is_missing=True)
        consumer = await self._consumer(stream)
        state = info.state
        # Without its consumer nothing of it is taken.
        untaken = (consumer.num_pending or 0) if consumer else state.messages
        return StreamDiagnosis(
            name=stream.name,
            stage=stream.stage,
            messages=state.messages,
            bytes=state.bytes,
            fullness=fullness_of(info),
            untaken=untaken if stream.stage else 0,
            taken=(consumer.num_ack_pending or 0) if consumer else 0,
            again=(consumer.num_redelivered or 0) if consumer else 0,
            pulling=(consumer.num_waiting or 0) if consumer else 0,
        )

    async def _consumer(self, stream: Stream) -> ConsumerInfo | None:
        if not stream.stage:
            return None
        try:
            found: ConsumerInfo = await self._connection.js.consumer_info(stream.name, stream.stage)
        except nats.js.errors.NotFoundError:
            return None
        return found

    async def _info(self, name: str, subjects: str | None = None) -> StreamInfo | None:
        try:
            return await self._connection.js.stream_info(name, subjects)
        except nats.js.errors.NotFoundError:
            return None
