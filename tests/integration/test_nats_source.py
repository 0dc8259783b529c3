"""The source against a real NATS and a sink that misbehaves; pauses are scaled down."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from nats_source.binding import Binding
from nats_source.delivery import Pace
from nats_source.sink import Sink
from nats_source.source import Route

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.consumer import PullConsumer
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.publisher import NatsPublisher, headers_of, store
from kannon.adapters.nats.streams import STAGES, ensure_streams
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.events import AnyPayload, CloudEvent, DeliveriesDue, RecipientsVerified, RecipientVerdict, Sealer
from kannon.runtime.clock import utc_now
from tests.scripted_sink import Asked, ScriptedSink, status

Eventually = Callable[..., Awaitable[Any]]
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
    concurrency: int = 4
    binding: Binding = field(default_factory=Binding)

    async def publish(self, payload: AnyPayload) -> str:
        """Publish it; returns the event's id."""
        await NatsPublisher(self.connection, SEALER, utc_now).publish(payload)
        return SEALER.seal(payload, utc_now()).id

    @asynccontextmanager
    async def route(self, grace: float = 5.0) -> AsyncIterator[Route]:
        """A route for the stage `dispatch`, running."""
        stopping = asyncio.Event()
        sink = Sink(self.sink.url, self.binding, timeout=self.timeout, connect_timeout=1)
        consumer = PullConsumer(
            self.connection, STAGES["dispatch"], ack_wait=self.ack_wait, expires=2, heartbeat=0.5
        )
        async with sink:
            route = Route(
                consumer,
                sink,
                DeadLetters(self.connection),
                concurrency=self.concurrency,
                pace=self.pace,
                keep_every=self.ack_wait / 3,
            )
            running = asyncio.create_task(route.run(stopping, grace))
            try:
                yield route
            finally:
                stopping.set()
                await running

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


@pytest.fixture
async def around(fresh_nats: EmbeddedNats) -> AsyncIterator[Surroundings]:
    async with (
        await connect(fresh_nats.url, "test", give_up_after=10) as connection,
        ScriptedSink() as sink,
    ):
        yield Surroundings(fresh_nats, connection, sink)


@pytest.fixture
async def ready(around: Surroundings) -> Surroundings:
    await ensure_streams(around.connection.js)
    return around


def chunk(announcement: int = 1, size: int = 1) -> RecipientsVerified:
    return RecipientsVerified(7, announcement, tuple(RecipientVerdict(seq) for seq in range(size)))


async def test_an_event_arrives_as_it_was_published(ready: Surroundings, eventually: Eventually) -> None:
    async with ready.route():
        await ready.publish(chunk(size=3))
        await eventually(ready.is_drained)
    (asked,) = ready.sink.asked
    expected = headers_of(SEALER.seal(chunk(size=3), utc_now()))
    found = {name.lower(): value for name, value in asked.headers.items()}
    assert {name: found[name] for name in expected if name != "ce-time"} == {
        name: value for name, value in expected.items() if name != "ce-time"
    }
    attributes = {name.removeprefix("ce-"): value for name, value in found.items() if name.startswith("ce-")}
    event = CloudEvent.of(attributes | {"datacontenttype": found["content-type"]}, asked.data)
    assert SEALER.open(event, [RecipientsVerified]) == chunk(size=3)
    assert "nats-msg-id" not in found
    assert "kannon-items" not in found


async def test_many_events_are_each_done_once_over_bounded_requests(
    ready: Surroundings, eventually: Eventually
) -> None:
    now_open = most_open = 0

    async def slowly(_asked: Asked) -> web.Response:
        nonlocal now_open, most_open
        now_open += 1
        most_open = max(most_open, now_open)
        await asyncio.sleep(0.005)
        now_open -= 1
        return status(204)

    ready.sink.respond = slowly
    ids = {await ready.publish(chunk(number)) for number in range(200)}
    async with ready.route():
        await eventually(ready.is_drained)
    assert sorted(asked.id for asked in ready.sink.asked) == sorted(ids)
    assert most_open == 4


@pytest.mark.parametrize("code", [302, 401, 403, 404, 408, 409, 429, 503])
async def test_what_is_waited_out_is_never_given_up(
    ready: Surroundings, eventually: Eventually, code: int
) -> None:
    ready.sink.in_turn(*[code] * 6, 204)
    async with ready.route():
        await ready.publish(chunk())
        await eventually(ready.is_drained)
    assert len(ready.sink.asked) == 7
    assert not await ready.letters()


async def test_retry_after_is_heeded_up_to_a_bound(ready: Surroundings, eventually: Eventually) -> None:
    ready.sink.respond = lambda _asked: (
        status(204) if len(ready.sink.asked) > 1 else status(429, Retry_After="60")
    )
    async with ready.route():
        await ready.publish(chunk())
        await eventually(ready.is_drained)
    first, second = ready.sink.asked
    assert second.at - first.at >= PACE.max_retry_after


async def test_a_function_that_is_not_there_is_awaited_without_haste(
    ready: Surroundings, eventually: Eventually
) -> None:
    await ready.sink.close()
    for number in range(3):
        await ready.publish(chunk(number))
    loop = asyncio.get_running_loop()
    sent, started = ready.connection.client.stats["out_msgs"], loop.time()
    async with ready.route():
        await eventually(lambda: loop.time() - started > 1)
        assert ready.connection.client.stats["out_msgs"] - sent < 60
        await ready.sink.listen()
        await eventually(ready.is_drained)
    assert len({asked.id for asked in ready.sink.asked}) == 3
    assert not await ready.letters()


async def test_an_idle_route_asks_nats_next_to_nothing(ready: Surroundings, eventually: Eventually) -> None:
    async with ready.route() as route:
        await eventually(lambda: route.is_bound)
        loop = asyncio.get_running_loop()
        sent, started = ready.connection.client.stats["out_msgs"], loop.time()
        await eventually(lambda: loop.time() - started > 1)
        assert ready.connection.client.stats["out_msgs"] - sent <= 4  # one request a lane, in 2 s


async def test_an_event_without_items_that_fails_becomes_one_dead_letter(
    ready: Surroundings, eventually: Eventually
) -> None:
    ready.sink.respond = lambda _asked: web.Response(status=500, text="broken\r\nfor good")
    async with ready.route():
        event_id = await ready.publish(DeliveriesDue(1, "nonce"))
        await eventually(ready.is_drained)
    assert len(ready.sink.asked) == 3
    (letter,) = await ready.letters()
    assert letter["ce-id"] == event_id
    assert letter["kannon-reason"] == "status 500: broken for good"
    assert "kannon-item" not in letter


@pytest.mark.parametrize("size", [1, 2, 9])
async def test_of_a_poisoned_chunk_only_the_poison_is_buried(
    ready: Surroundings, eventually: Eventually, size: int
) -> None:
    poison = size // 2
    done: list[int] = []

    def respond(asked: Asked) -> web.Response:
        if poison in asked.items:
            return status(500)
        done.extend(asked.items)
        return status(204)

    ready.sink.respond = respond
    async with ready.route():
        await ready.publish(chunk(size=size))
        await eventually(ready.is_drained)
    assert sorted(done) == [item for item in range(size) if item != poison]
    assert [letter["kannon-item"] for letter in await ready.letters()] == [str(poison)]


async def test_a_forged_event_is_buried_whole_at_once(ready: Surroundings, eventually: Eventually) -> None:
    ready.sink.in_turn(400)
    async with ready.route():
        await ready.publish(chunk(size=5))
        await eventually(ready.is_drained)
    assert len(ready.sink.asked) == 1
    (letter,) = await ready.letters()
    assert letter["kannon-item"] == "0-5"
    assert letter["kannon-status"] == "400"


async def test_what_cannot_be_said_in_http_is_buried(ready: Surroundings, eventually: Eventually) -> None:
    async with ready.route():
        headers = {"ce-id": "1", "ce-subject": "a\x01b"}
        await store(ready.connection, "kannon.v1.deliveries.due", b"", headers)
        await eventually(ready.is_drained)
    assert not ready.sink.asked
    (letter,) = await ready.letters()
    assert letter["kannon-status"] == "none"


async def test_timeouts_are_counted(ready: Surroundings, eventually: Eventually) -> None:
    async def never(_asked: Asked) -> web.Response:
        await asyncio.sleep(60)
        return status(204)

    ready.sink.respond = never
    ready.timeout = 0.1
    async with ready.route():
        await ready.publish(chunk())
        await eventually(ready.is_drained)
    assert len(ready.sink.asked) == 3
    assert (await ready.letters())[0]["kannon-reason"] == "no answer in time"


async def test_a_cut_connection_is_counted_and_tried_again(
    ready: Surroundings, eventually: Eventually
) -> None:
    def cut(asked: Asked) -> web.Response:
        if len(ready.sink.asked) < 3:
            asked.hang_up()
        return status(204)

    ready.sink.respond = cut
    async with ready.route():
        await ready.publish(chunk())
        await eventually(ready.is_drained)
    assert len(ready.sink.asked) == 3
    assert not await ready.letters()


async def test_a_cold_start_may_outlast_the_ack_wait(around: Surroundings, eventually: Eventually) -> None:
    async def cold(_asked: Asked) -> web.Response:
        await asyncio.sleep(2.0)
        return status(204)

    around.ack_wait = 0.5
    await ensure_streams(around.connection.js, ack_wait=around.ack_wait)
    around.sink.respond = cold
    async with around.route():
        await around.publish(chunk())
        await eventually(around.is_drained)
    assert len(around.sink.asked) == 1


async def test_what_is_waited_out_long_makes_room_for_others(
    ready: Surroundings, eventually: Eventually
) -> None:
    ready.concurrency = 1
    ready.pace = replace(PACE, hold=0.1)
    stuck = [await ready.publish(chunk(number)) for number in range(40)]  # more than are held at once
    free = await ready.publish(chunk(1000))
    is_back = False
    ready.sink.respond = lambda asked: status(204 if asked.id == free or is_back else 503)
    async with ready.route():
        await eventually(lambda: free in {asked.id for asked in ready.sink.asked})
        assert await ready.waiting() >= len(stuck)
        is_back = True
        await eventually(ready.is_drained)
    assert not await ready.letters()


async def test_a_poisoned_chunk_holds_up_nobody(ready: Surroundings, eventually: Eventually) -> None:
    ready.concurrency = 1
    ready.pace = replace(PACE, after_failure=60.0, max_wait=60.0)
    poisoned = await ready.publish(chunk(1, size=8))
    ready.sink.respond = lambda asked: status(500 if asked.id == poisoned else 204)
    others = {await ready.publish(chunk(number)) for number in range(2, 20)}
    async with ready.route():
        await eventually(lambda: others <= {asked.id for asked in ready.sink.asked})
        await eventually(ready.is_left_with_one)
    assert [asked.id for asked in ready.sink.asked].count(poisoned) == 1


async def test_nothing_is_lost_while_the_dead_letter_cannot_be_written(
    ready: Surroundings, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    js = ready.connection.js
    roomy = (await js.stream_info("KANNON_DLQ")).config
    await store(ready.connection, "kannon.v1.dlq.other", b"", {})
    await js.update_stream(roomy.evolve(discard="new", max_msgs=1))
    ready.sink.in_turn(400)
    async with ready.route():
        await ready.publish(chunk())
        await eventually(lambda: caplog.messages.count("no dead letter yet") > 3)
        assert await ready.waiting() == 1
        await js.update_stream(roomy)
        await eventually(ready.is_drained)
    assert len(ready.sink.asked) == 1
    assert len(await ready.letters()) == 2


async def delete_stream(ready: Surroundings) -> None:
    await ready.connection.js.delete_stream("KANNON_DISPATCH")


async def delete_consumer(ready: Surroundings) -> None:
    await ready.connection.js.delete_consumer("KANNON_DISPATCH", "dispatch")


async def restart(ready: Surroundings) -> None:
    await ready.nats.stop()
    await ready.nats.start()
    await ready.connection.wait_up()


async def wipe(ready: Surroundings) -> None:
    await ready.nats.stop()
    ready.nats.delete_store()
    await ready.nats.start()
    await ready.connection.wait_up()


async def end_connection(ready: Surroundings) -> None:
    # More than the server takes: it hangs up, and nats-py does not come back from that by itself.
    first = ready.connection.client
    await first.publish("kannon.v1.deliveries.due", b"x" * (first.max_payload - 10), headers={"a": "b" * 100})
    while ready.connection.client is first:  # noqa: ASYNC110 - what replaces it tells nobody
        await asyncio.sleep(0.01)
    await ready.connection.wait_up()


@pytest.mark.parametrize("harm", [delete_stream, delete_consumer, restart, wipe, end_connection])
async def test_it_recovers_by_itself(
    ready: Surroundings, eventually: Eventually, harm: Callable[[Surroundings], Awaitable[None]]
) -> None:
    async with ready.route() as route:
        for number in range(3):
            await eventually(lambda: route.is_bound)
            await harm(ready)
            event_id = await ready.publish(chunk(number))
            await eventually(lambda event_id=event_id: event_id in {asked.id for asked in ready.sink.asked})
        await eventually(ready.is_drained)


async def test_what_is_in_hand_outlives_a_restart_of_nats(
    around: Surroundings, eventually: Eventually
) -> None:
    around.ack_wait = 0.5
    await ensure_streams(around.connection.js, ack_wait=around.ack_wait)
    answer = asyncio.Event()

    async def when_told(_asked: Asked) -> web.Response:
        await answer.wait()
        return status(204)

    around.sink.respond = when_told
    async with around.route() as route:
        await around.publish(chunk())
        await eventually(lambda: around.sink.asked)
        await around.nats.stop()
        await asyncio.sleep(0.6)  # past the ack wait: NATS will hand it out once more
        await around.nats.start()
        await eventually(lambda: route.is_bound)
        answer.set()
        await eventually(around.is_drained)
    assert len(around.sink.asked) == 1


async def test_an_answer_to_a_lost_event_touches_no_other(
    ready: Surroundings, eventually: Eventually
) -> None:
    answer = asyncio.Event()

    async def when_told(asked: Asked) -> web.Response:
        if asked.id == lost:
            await answer.wait()
            return status(204)
        await asyncio.sleep(60)
        return status(500)

    ready.sink.respond = when_told
    async with ready.route(grace=0.1) as route:
        lost = await ready.publish(chunk(1))
        await eventually(lambda: len(ready.sink.asked) == 1)
        await wipe(ready)
        other = await ready.publish(chunk(2))  # gets the sequence number that the lost one had
        await eventually(lambda: len(ready.sink.asked) == 2)
        answer.set()
        await eventually(lambda: len(route._held) == 1)
    ready.sink.respond = lambda _asked: status(204)
    async with ready.route():
        await eventually(ready.is_drained)
    assert [asked.id for asked in ready.sink.asked] == [lost, other, other]


async def test_stopping_finishes_what_is_open_and_gives_back_the_rest(
    ready: Surroundings, eventually: Eventually
) -> None:
    opened = asyncio.Event()

    async def respond(asked: Asked) -> web.Response:
        if asked.id == refused:
            return status(503)
        opened.set()
        await asyncio.sleep(0.3)
        return status(204)

    refused = await ready.publish(chunk(1))
    ready.sink.respond = respond
    ready.pace = replace(PACE, wait=5.0, max_wait=5.0, hold=60.0)
    async with ready.route():
        await eventually(lambda: ready.sink.asked)
        await ready.publish(chunk(2))
        await opened.wait()
    await eventually(ready.is_left_with_one)
    ready.sink.respond = lambda _asked: status(204)
    async with ready.route():
        await eventually(ready.is_drained, within=3)  # the ack wait would be 30 s
    assert [asked.id for asked in ready.sink.asked].count(refused) == 2


async def test_what_is_not_done_in_time_when_stopping_is_given_back(
    ready: Surroundings, eventually: Eventually
) -> None:
    async def never(_asked: Asked) -> web.Response:
        await asyncio.sleep(60)
        return status(204)

    ready.sink.respond = never
    async with ready.route(grace=0.1):
        await ready.publish(chunk())
        await eventually(lambda: ready.sink.asked)
    ready.sink.respond = lambda _asked: status(204)
    async with ready.route():
        await eventually(ready.is_drained, within=3)


async def test_a_bound_sink_is_spoken_to_as_knative_wants_it(
    ready: Surroundings, eventually: Eventually, tmp_path: Path
) -> None:
    authority = trustme.CA()
    ready.sink.certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ready.sink.certificate)
    token = tmp_path / "token"
    token.write_text("abc")
    await ready.sink.close()
    await ready.sink.listen()
    ready.binding = Binding.read(
        {
            "K_CE_OVERRIDES": '{"extensions": {"team": "mail", "partitionkey": "other"}}',
            "K_CA_CERTS": authority.cert_pem.bytes().decode(),
            "K_OIDC_TOKEN_FILE": str(token),
        }
    )
    async with ready.route():
        await ready.publish(chunk())
        await eventually(ready.is_drained)
    (asked,) = ready.sink.asked
    assert asked.headers["ce-team"] == "mail"
    assert asked.headers["ce-partitionkey"] == "other"
    assert asked.headers["authorization"] == "Bearer abc"


async def test_a_certificate_that_is_not_trusted_is_waited_out(
    ready: Surroundings, eventually: Eventually
) -> None:
    ready.sink.certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(ready.sink.certificate)
    await ready.sink.close()
    await ready.sink.listen()
    async with ready.route() as route:
        await ready.publish(chunk())
        await eventually(lambda: route._is_refused)
    assert await ready.waiting() == 1
    assert not await ready.letters()
