"""The source through outages of NATS, and its own end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from kannon.adapters.nats.publisher import store
from kannon.adapters.nats.streams import ensure_streams
from kannon.cli.standalone.nats import EmbeddedNats
from tests.scripted_sink import Asked, status
from tests.source_surroundings import PACE, Surroundings, chunk, surroundings

Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
async def around(fresh_nats: EmbeddedNats) -> AsyncIterator[Surroundings]:
    async with surroundings(fresh_nats) as found:
        yield found


@pytest.fixture
async def ready(around: Surroundings) -> Surroundings:
    await ensure_streams(around.connection.js)
    return around


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
    changed = asyncio.Event()
    ready.connection.on_change(changed.set)
    client = ready.connection.client
    await client.publish("kannon.v1.deliveries.due", b"x" * (client.max_payload - 9), headers={"a": "b" * 99})
    await changed.wait()
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
    around.ack_wait, around.keep_every = 0.5, 60.0
    await ensure_streams(around.connection.js, ack_wait=around.ack_wait)
    answer = asyncio.Event()

    async def when_told(_asked: Asked) -> web.Response:
        await answer.wait()
        return status(204)

    around.sink.respond = when_told
    async with around.route() as route:
        await around.publish(chunk())
        await eventually(lambda: around.sink.asked)
        (held,) = route._held.values()
        first_delivery = held._reply
        await restart(around)
        await eventually(lambda: held._reply != first_delivery)  # NATS handed it out once more
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
