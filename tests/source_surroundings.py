"""A real NATS, a sink that misbehaves, and routes of the source between them; pauses are scaled down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.consumer import PullConsumer
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.nats.streams import STAGES
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import AnyPayload, RecipientsVerified, RecipientVerdict
from kannon.events import Sealer
from kannon.runtime.binding import Binding
from kannon.runtime.clock import utc_now
from kannon.runtime.sink import Sink
from nats_source.delivery import Pace
from nats_source.source import Route
from tests.scripted_sink import ScriptedSink

SEALER = Sealer(b"k" * 32, "/kannon/test")
PACE = Pace(wait=0.02, max_wait=0.2, max_retry_after=0.4, after_failure=0.02, max_failures=3, hold=5.0)


@dataclass
class Surroundings:
    """NATS, a sink, and routes between them."""

    nats: EmbeddedNats
    connection: Connection
    sink: ScriptedSink
    pace: Pace = PACE
    timeout: float = 5.0
    ack_wait: float = 30.0
    keep_every: float = 10.0
    concurrency: int = 4
    binding: Binding = field(default_factory=Binding)

    async def publish(self, payload: AnyPayload) -> str:
        """Publish it; returns the event's id."""
        await NatsPublisher(self.connection, SEALER, utc_now).publish(payload)
        return SEALER.seal(payload, utc_now()).id

    @asynccontextmanager
    async def route(
        self,
        grace: float = 5.0,
        to: ScriptedSink | None = None,
        connection: Connection | None = None,
    ) -> AsyncIterator[Route]:
        """A route for the stage `dispatch`, running.

        Args:
            to: another sink.
            connection: to NATS, another one: as if it were another process.
        """
        stopping = asyncio.Event()
        connection = connection or self.connection
        url = (to or self.sink).url
        sink = Sink(url, self.binding, name="nats-source", timeout=self.timeout, connect_timeout=1)
        consumer = PullConsumer(
            connection, STAGES["dispatch"], ack_wait=self.ack_wait, expires=2, heartbeat=0.5
        )
        async with sink:
            route = Route(
                consumer,
                sink,
                DeadLetters(connection),
                concurrency=self.concurrency,
                pace=self.pace,
                keep_every=self.keep_every,
            )
            running = asyncio.create_task(route.run(stopping, grace))
            try:
                yield route
            finally:
                stopping.set()
                await running

    async def handed_out(self) -> int:
        """How often a message was handed out to a source."""
        info = await self.connection.js.consumer_info("KANNON_DISPATCH", "dispatch")
        assert info.delivered
        return int(info.delivered.consumer_seq)

    async def waiting(self) -> int:
        """Messages in the stream."""
        return (await self.connection.js.stream_info("KANNON_DISPATCH")).state.messages

    async def is_drained(self) -> bool:
        """Whether everything is done."""
        return await self.waiting() == 0

    async def is_left_with_one(self) -> bool:
        """Whether everything but one is done."""
        return await self.waiting() == 1

    async def letters(self) -> list[dict[str, str]]:
        """The headers of all dead letters."""
        js = self.connection.js
        state = (await js.stream_info("KANNON_DLQ")).state
        found = [await js.get_msg("KANNON_DLQ", seq) for seq in range(1, state.last_seq + 1)]
        return [letter.headers or {} for letter in found]


@asynccontextmanager
async def surroundings(server: EmbeddedNats) -> AsyncIterator[Surroundings]:
    """All of it, with `server`."""
    async with await connect(server.url, "test", give_up_after=10) as connection, ScriptedSink() as sink:
        yield Surroundings(server, connection, sink)


def chunk(announcement: int = 1, size: int = 1) -> RecipientsVerified:
    """An event with `size` items."""
    return RecipientsVerified(7, announcement, tuple(RecipientVerdict(seq) for seq in range(size)))
