"""The source as a process of its own, as the image and standalone start it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.consumer import PullConsumer
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.nats.streams import STAGES
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import BatchAccepted as Accepted
from kannon.core.payloads import Candidate, DeliveriesDue
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from tests.scripted_sink import ScriptedSink

Eventually = Callable[..., Awaitable[object]]


async def start(variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nats_source",
        env={"PATH": os.defpath, "HOME": "/nonexistent", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def health(port: int) -> int | None:
    try:
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/healthz") as response:
            return response.status
    except aiohttp.ClientConnectorError:
        return None


async def is_at(port: int, code: int) -> bool:
    return await health(port) == code


async def test_it_feeds_several_routes_and_stops_when_told(
    fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    port = free_port()
    async with (
        ScriptedSink() as verify,
        ScriptedSink() as dispatch,
        await connect(fresh_nats.url, "test") as connection,
    ):
        process = await start(
            {
                "K_NATS_URL": fresh_nats.url,
                "K_SOURCE_ROUTES": f"verify={verify.url},dispatch={dispatch.url}",
                "K_SOURCE_HEALTH_PORT": str(port),
            }
        )
        await eventually(lambda: is_at(port, 200))
        publisher = NatsPublisher(connection, Sealer(b"k" * 32, "/kannon/test"), utc_now)
        await publisher.publish(Accepted(7, 1, (Candidate(0, "a@example.com"),)))
        await publisher.publish(DeliveriesDue(1, "nonce"))
        await eventually(lambda: verify.asked and dispatch.asked)
        assert verify.asked[0].headers["ce-type"] == "email.kannon.batch.accepted.v1"
        assert dispatch.asked[0].headers["ce-type"] == "email.kannon.deliveries.due.v1"
        await fresh_nats.stop()
        await eventually(lambda: is_at(port, 503))
        await fresh_nats.start()
        await eventually(lambda: is_at(port, 200))
        dispatch.in_turn(503)
        await connection.wait_up()
        await publisher.publish(DeliveriesDue(1, "another"))
        await eventually(lambda: len(dispatch.asked) > 1)
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert process.returncode == 0
        assert errors == b""
        async with asyncio.timeout(3):  # the ack wait would be 30 s
            assert (await PullConsumer(connection, STAGES["dispatch"]).lane().next()).deliveries > 1


async def test_a_sink_binding_gives_its_one_route(fresh_nats: EmbeddedNats, eventually: Eventually) -> None:
    async with ScriptedSink() as sink, await connect(fresh_nats.url, "test") as connection:
        process = await start(
            {
                "K_NATS_URL": fresh_nats.url,
                "K_SINK": sink.url,
                "K_CE_OVERRIDES": "",
                "K_SOURCE_ROUTE": "dispatch",
            }
        )
        publisher = NatsPublisher(connection, Sealer(b"k" * 32, "/kannon/test"), utc_now)
        await publisher.publish(DeliveriesDue(1, "nonce"))
        await eventually(lambda: sink.asked)
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0


async def test_what_is_missing_is_said_in_a_line() -> None:
    for variables, named in (
        ({"K_NATS_URL": "nats://127.0.0.1:1"}, b"K_SOURCE_ROUTES"),
        ({"K_SOURCE_ROUTES": "send=http://127.0.0.1:1/"}, b"K_NATS_URL"),
        ({"K_SOURCE_ROUTES": "send=http://127.0.0.1:1/", "K_CE_OVERRIDES": "x"}, b"K_CE_OVERRIDES"),
    ):
        process = await start(variables)
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert errors.startswith(b"error: ")
        assert named in errors
        assert errors.count(b"\n") == 1
