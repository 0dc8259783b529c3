"""The source and what a sink may answer."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from kannon.adapters.nats.publisher import headers_of, store
from kannon.adapters.nats.streams import ensure_streams
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import DeliveriesDue, RecipientsVerified
from kannon.events import CloudEvent
from kannon.runtime.binding import Binding
from kannon.runtime.clock import utc_now
from tests.scripted_sink import Asked, status
from tests.source_surroundings import PACE, SEALER, Surroundings, chunk, surroundings

Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
async def around(fresh_nats: EmbeddedNats) -> AsyncIterator[Surroundings]:
    async with surroundings(fresh_nats) as found:
        yield found


@pytest.fixture
async def ready(around: Surroundings) -> Surroundings:
    await ensure_streams(around.connection.js)
    return around


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


async def test_of_an_event_that_was_given_up_only_these_items_are_tried_again(
    ready: Surroundings, eventually: Eventually
) -> None:
    ready.sink.respond = lambda asked: status(500 if "kannon-items" in asked.headers else 204)
    event = SEALER.seal(chunk(size=100), utc_now())
    for items in ("96-100", "7-8", "99-101", "8-7", "some"):
        about = headers_of(event) | {"kannon-items": items, "Nats-Msg-Id": items}
        await store(ready.connection, "kannon.v1.recipients.verified", event.data, about)
    async with ready.route():
        await eventually(ready.is_drained)
    asked = Counter(one.headers.get("kannon-items", "all") for one in ready.sink.asked)
    halves = {"96-98": 3, "98-100": 3, "96-97": 3, "97-98": 3, "98-99": 3, "99-100": 3}
    assert asked == {"96-100": 3, **halves, "7-8": 3, "all": 3}
    letters = await ready.letters()
    assert sorted(letter["kannon-item"] for letter in letters) == ["7", "96", "97", "98", "99"]
    assert not any("kannon-items" in letter for letter in letters)


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

    around.ack_wait, around.keep_every = 0.5, 0.15
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
