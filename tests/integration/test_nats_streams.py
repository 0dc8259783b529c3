"""The adapters to NATS against the real server: connection, streams, publishing, dead letters."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.consumer import PullConsumer
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.publisher import NatsPublisher, NatsStreams, store
from kannon.adapters.nats.streams import STAGES, STREAMS, ensure_streams
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import (
    DeliveriesDue,
    OutcomeFact,
    Outcomes,
    RecipientsVerified,
    RecipientVerdict,
    SuppressionChanges,
    SuppressionFact,
)
from kannon.events import CloudEvent, Sealer
from kannon.runtime.clock import utc_now

Eventually = Callable[..., Awaitable[object]]
SEALER = Sealer(b"k" * 32, "/kannon/test")


@pytest.fixture
async def connection(fresh_nats: EmbeddedNats) -> AsyncIterator[Connection]:
    async with await connect(fresh_nats.url, "test", give_up_after=10) as found:
        yield found


@pytest.fixture
async def js_connection(connection: Connection) -> Connection:
    await ensure_streams(connection.js)
    return connection


def publisher_on(connection: Connection) -> NatsPublisher:
    return NatsPublisher(connection, SEALER, utc_now)


def verified(announcement: int, size: int = 1) -> RecipientsVerified:
    verdicts = tuple(RecipientVerdict(seq, "reason " * 10) for seq in range(size))
    return RecipientsVerified(7, announcement, verdicts)


async def test_the_start_gives_up_in_time_and_tells_no_secret() -> None:
    started = time.monotonic()
    with pytest.raises(EventsUnavailable) as caught:
        await connect(f"nats://user:hunter2@127.0.0.1:{free_port()}", "test", give_up_after=0.3)
    assert time.monotonic() - started < 5
    assert "no answer" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_refused_credentials_are_called_by_name(fresh_nats: EmbeddedNats) -> None:
    url = f"nats://kannon:wrong@127.0.0.1:{fresh_nats.port}"
    with pytest.raises(EventsUnavailable, match="credentials refused"):
        await connect(url, "test", give_up_after=0.5)


async def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(EventsUnavailable, match="K_NATS_URL"):
        await connect("nats://127.0.0.1:port", "test", give_up_after=5)


async def test_the_start_waits_for_a_nats_that_is_late(fresh_nats: EmbeddedNats) -> None:
    await fresh_nats.stop()
    opening = asyncio.create_task(connect(fresh_nats.url, "test", give_up_after=30))
    await fresh_nats.start()
    async with await opening as connection:
        assert connection.is_up


async def test_a_connection_that_the_server_ended_for_good_is_made_anew(
    js_connection: Connection, eventually: Eventually
) -> None:
    first = js_connection.client
    # More than the server takes: it says so and hangs up, and nats-py does not come back from that.
    await first.publish("kannon.v1.deliveries.due", b"x" * (first.max_payload - 10), headers={"a": "b" * 100})
    await eventually(lambda: not js_connection.is_up)
    await eventually(lambda: js_connection.is_up)
    assert await publisher_on(js_connection).publish(DeliveriesDue(1, "a")) == 1


async def test_streams_are_made_once_by_many_at_once(connection: Connection) -> None:
    await asyncio.gather(*(ensure_streams(connection.js) for _ in range(5)))
    await ensure_streams(connection.js)
    infos = await connection.js.streams_info()
    assert {info.config.name for info in infos} == {stream.name for stream in STREAMS}
    for stream in STAGES.values():
        (consumer,) = await connection.js.consumers_info(stream.name)
        assert consumer.config.durable_name == stream.stage
        assert consumer.config.max_deliver == -1
        assert consumer.config.ack_wait == 30


async def test_what_differs_is_changed_and_what_is_in_it_stays(js_connection: Connection) -> None:
    js = js_connection.js
    await publisher_on(js_connection).publish(DeliveriesDue(1, "a"))
    info = await js.stream_info("KANNON_DISPATCH")
    await js.update_stream(info.config.evolve(subjects=["kannon.v1.deliveries.due"], max_msgs=5))
    await ensure_streams(js)
    info = await js.stream_info("KANNON_DISPATCH")
    assert info.config.max_msgs == 100_000
    assert info.config.subjects == ["kannon.v1.recipients.verified", "kannon.v1.deliveries.due"]
    assert info.state.messages == 1


async def test_more_replicas_than_servers_are_refused_with_the_reason(connection: Connection) -> None:
    with pytest.raises(EventsUnavailable, match="KANNON_VERIFY: replicas > 1"):
        await ensure_streams(connection.js, replicas=3)


async def test_a_stream_that_is_missing_is_made_by_publishing(connection: Connection) -> None:
    publisher = publisher_on(connection)
    numbers = await asyncio.gather(*(publisher.publish(DeliveriesDue(1, str(n))) for n in range(50)))
    assert sorted(numbers) == list(range(1, 51))


async def test_a_stream_that_a_channel_of_knative_made_and_works_off_is_left_to_it(
    connection: Connection,
) -> None:
    """As in the overlay stock-channel: eventing-natss makes stream and push consumer."""
    js, ours = connection.js, STAGES["dispatch"]
    subjects = ["kannon.dispatch._knative", *ours.subjects]
    await js.add_stream(ours.config(replicas=1).evolve(subjects=subjects))
    pushed = await connection.client.subscribe("kannon.dispatch._knative_consumer.1", queue="KN_SUB_1")
    await js.add_consumer(
        ours.name,
        ConsumerConfig(
            durable_name="KN_SUB_1",
            deliver_group="KN_SUB_1",
            deliver_subject="kannon.dispatch._knative_consumer.1",
            ack_policy=AckPolicy.EXPLICIT,
            max_deliver=11,
        ),
    )
    assert await publisher_on(connection).publish(DeliveriesDue(1, "x")) == 1
    assert (await pushed.next_msg(timeout=10)).subject == "kannon.v1.deliveries.due"
    states = await NatsStreams(connection).states()
    assert [state.last_seq for state in states if state.name == ours.name] == [1]
    assert [found.name for found in await js.consumers_info(ours.name)] == ["KN_SUB_1"]


@pytest.mark.parametrize("limit", [{"max_msgs": 2}, {"max_bytes": 1500}])
async def test_a_full_stream_refuses(js_connection: Connection, limit: dict[str, int]) -> None:
    js = js_connection.js
    await js.update_stream((await js.stream_info("KANNON_DISPATCH")).config.evolve(**limit))
    publisher, streams = publisher_on(js_connection), NatsStreams(js_connection)
    due = [publisher.publish(DeliveriesDue(1, str(number))) for number in range(10)]
    with pytest.raises(EventsUnavailable, match=r"maximum (messages|bytes) exceeded"):
        await asyncio.gather(*due)
    assert await streams.fullness(DeliveriesDue) > 0.5


async def test_an_event_larger_than_nats_takes_is_refused_here(js_connection: Connection) -> None:
    with pytest.raises(EventsUnavailable, match="larger than NATS takes"):
        await publisher_on(js_connection).publish(verified(1, size=20_000))
    assert js_connection.is_up


async def test_while_nats_is_away_everything_fails_at_once(
    fresh_nats: EmbeddedNats, js_connection: Connection
) -> None:
    await fresh_nats.stop()
    started = time.monotonic()
    for call in (
        publisher_on(js_connection).publish(DeliveriesDue(1, "a")),
        NatsStreams(js_connection).fullness(DeliveriesDue),
        NatsStreams(js_connection).states(),
    ):
        with pytest.raises(EventsUnavailable):
            await call
    assert time.monotonic() - started < 2
    await fresh_nats.start()
    await js_connection.wait_up()
    assert await publisher_on(js_connection).publish(DeliveriesDue(1, "b")) == 1


async def test_fullness_waiting_and_states(js_connection: Connection) -> None:
    publisher, streams = publisher_on(js_connection), NatsStreams(js_connection)
    assert await streams.fullness(DeliveriesDue) == 0
    assert await streams.waiting(DeliveriesDue) == 0
    for number in range(3):
        await publisher.publish(DeliveriesDue(1, str(number)))
    await publisher.publish(verified(1))
    fact = OutcomeFact("7.0", "m", "d", "r", 1, utc_now(), {})
    await publisher.publish(Outcomes("delivered", 1, (fact,)))
    assert 0 < await streams.fullness(DeliveriesDue) < 0.01
    assert await streams.waiting(DeliveriesDue) == 3
    assert await streams.waiting(RecipientsVerified) == 1
    assert await streams.waiting(Outcomes) == 1
    gone = SuppressionFact("d", "r", "hard_bounce", "transmission", utc_now(), None, "m", "")
    for number, change in enumerate(("added", "removed")):
        await publisher.publish(SuppressionChanges(change, number, (gone,)))
    assert await streams.waiting(SuppressionChanges) == 2
    states = {state.name: state for state in await streams.states()}
    assert list(states) == [stream.name for stream in STAGES.values()]
    assert states["KANNON_DISPATCH"].last_seq == 4


async def test_states_tell_a_stream_that_was_made_anew(js_connection: Connection) -> None:
    streams = NatsStreams(js_connection)
    before = {state.name: state.created for state in await streams.states()}
    await js_connection.js.delete_stream("KANNON_SEND")
    after = {state.name: state.created for state in await streams.states()}
    assert {name for name in before if before[name] != after[name]} == {"KANNON_SEND"}


async def test_a_dead_letter_is_the_event_and_why(js_connection: Connection) -> None:
    await publisher_on(js_connection).publish(verified(1, size=3))
    lane = PullConsumer(js_connection, STAGES["dispatch"]).lane()
    event = await lane.next()
    for _ in range(2):  # the second is a repeat
        await DeadLetters(js_connection).bury(event, reason="status 500", status=500, item="1")
    info = await js_connection.js.stream_info("KANNON_DLQ")
    assert info.config.discard == DiscardPolicy.OLD
    assert info.state.messages == 1
    letter = await js_connection.js.get_msg("KANNON_DLQ", seq=1)
    assert letter.subject == "kannon.v1.dlq.recipients.verified"
    assert letter.data == event.data
    headers = letter.headers or {}
    assert headers["kannon-reason"] == "status 500"
    assert headers["kannon-status"] == "500"
    assert headers["kannon-item"] == "1"
    assert (headers["kannon-stream"], headers["kannon-seq"]) == ("KANNON_DISPATCH", "1")
    attributes = {
        name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")
    }
    sealed = CloudEvent.of(attributes | {"datacontenttype": headers["content-type"]}, letter.data or b"")
    assert SEALER.open(sealed, [RecipientsVerified]) == verified(1, size=3)
    await lane.close()


async def test_a_letter_that_is_too_large_goes_without_its_data(js_connection: Connection) -> None:
    size = js_connection.client.max_payload - 9000
    await store(js_connection, "kannon.v1.deliveries.due", b"x" * size, {"x-odd": "y", "ce-id": "1"})
    lane = PullConsumer(js_connection, STAGES["dispatch"]).lane()
    await DeadLetters(js_connection).bury(await lane.next(), reason="r", status=None)
    letter = await js_connection.js.get_msg("KANNON_DLQ", seq=1)
    assert not letter.data
    assert (letter.headers or {})["kannon-omitted"] == str(size)
    assert (letter.headers or {})["kannon-status"] == "none"
    await lane.close()
