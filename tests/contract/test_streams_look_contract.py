"""Looking at the streams, held to one contract by the fake and by NATS."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.streams import DLQ_STREAM, STREAMS, ensure_streams
from kannon.adapters.nats.streams_look import NatsStreamsLook
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.diagnosis import StreamDiagnosis, StreamsDiagnosis
from kannon.core.errors import EventsUnavailable
from kannon.ports import StreamsLook
from kannon.runtime.clock import utc_now
from tests.conftest import Eventually
from tests.fakes_diagnosis import FakeStreamsLook


@dataclass
class Subject:
    """A look, and a way to make it fail."""

    look_at: StreamsLook
    go_away: Callable[[], Awaitable[None]]

    async def stream(self, name: str) -> StreamDiagnosis:
        """How one of the streams is."""
        return next(stream for stream in (await self.look_at.look()).streams if stream.name == name)


@pytest.fixture
async def connection(fresh_nats: EmbeddedNats) -> AsyncIterator[Connection]:
    async with await connect(fresh_nats.url, "test", give_up_after=10) as connection:
        yield connection


@pytest.fixture(params=["fake", "nats"])
async def subject(
    request: pytest.FixtureRequest, connection: Connection, fresh_nats: EmbeddedNats
) -> Subject:
    if request.param == "fake":
        look = FakeStreamsLook(
            StreamsDiagnosis(streams=tuple(StreamDiagnosis(one.name, one.stage) for one in STREAMS))
        )

        async def go_away() -> None:
            look.away = True

        return Subject(look, go_away)
    await ensure_streams(connection.js)
    return Subject(NatsStreamsLook(connection), fresh_nats.stop)


async def test_empty_streams_hold_nothing(subject: Subject) -> None:
    found = await subject.look_at.look()
    assert list(found.streams) == [StreamDiagnosis(one.name, one.stage) for one in STREAMS]
    assert (found.error, dict(found.dead_letters), found.oldest_letter_at) == ("", {}, None)


async def test_when_it_is_away_it_says_so(subject: Subject) -> None:
    await subject.go_away()
    with pytest.raises(EventsUnavailable):
        await subject.look_at.look()


# What only NATS holds.


async def test_missing_streams_are_told_and_not_made(connection: Connection) -> None:
    look = NatsStreamsLook(connection)
    for _ in range(2):
        assert all(stream.is_missing for stream in (await look.look()).streams)


async def test_what_waits_is_told_from_what_is_taken_and_tried_again(
    connection: Connection, eventually: Eventually
) -> None:
    await ensure_streams(connection.js)
    subject = Subject(NatsStreamsLook(connection), connection.close)
    for number in range(3):
        await connection.js.publish("kannon.v1.batch.accepted", b"x" * 1000, headers={"n": str(number)})
    found = await subject.stream("KANNON_VERIFY")
    assert (found.messages, found.untaken, found.taken, found.again, found.pulling) == (3, 3, 0, 0, 0)
    assert found.bytes > 3000
    assert 0 < found.fullness < 0.001
    pull = await connection.js.pull_subscribe_bind("verify", "KANNON_VERIFY")
    first, _ = await pull.fetch(2)
    found = await subject.stream("KANNON_VERIFY")
    assert (found.untaken, found.taken, found.again) == (1, 2, 0)
    await first.nak()
    for _ in range(2):
        await pull.fetch(1)

    async def is_again() -> bool:
        return (await subject.stream("KANNON_VERIFY")).again == 1

    await eventually(is_again)
    assert (await subject.stream("KANNON_VERIFY")).untaken == 0


async def test_dead_letters_are_counted_by_event(connection: Connection) -> None:
    await ensure_streams(connection.js)
    before = utc_now()
    for event in ("batch.accepted", "envelopes.ready", "batch.accepted"):
        await connection.js.publish(f"kannon.v1.dlq.{event}", b"", stream=DLQ_STREAM)
    found = await NatsStreamsLook(connection).look()
    assert found.dead_letters == {"batch.accepted": 2, "envelopes.ready": 1}
    assert found.oldest_letter_at
    assert abs((found.oldest_letter_at - before).total_seconds()) < 5
