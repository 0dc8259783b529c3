"""Outcomes as public events, from the stream to whoever takes them: source and function as processes."""

import asyncio
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.cli.standalone.listening import answers_http, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import OutcomeFact, Outcomes
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import encode_key
from tests.contracts import check_event
from tests.scripted_sink import Asked, ScriptedSink, status

Eventually = Callable[..., Awaitable[object]]
ROOT = Path(__file__).parents[2]
KEY = b"k" * 32
AT = datetime(2027, 3, 4, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def fact(number: int) -> OutcomeFact:
    data = {"code": 250, "enhanced": "2.0.0", "msg": "ok", "exchanger": "mx.example.org", "ambiguities": 0}
    name = f"r{number}@example.org"
    return OutcomeFact(f"7.{number}", "msg_x@d.example", "d.example", name, 1, AT, data, TRACE)


class Way:
    """Stream, source and function; and the sink that they end at."""

    def __init__(
        self, sink: ScriptedSink, publisher: NatsPublisher, function: asyncio.subprocess.Process
    ) -> None:
        self.sink = sink
        self.function = function
        self._publisher = publisher
        self._published = 0

    async def publish(self, count: int, size: int = 100) -> None:
        """Publish so many Outcomes, in chunks."""
        for first in range(0, count, size):
            self._published += 1
            facts = tuple(fact(number) for number in range(first, min(first + size, count)))
            await self._publisher.publish(Outcomes("delivered", self._published, facts))


@asynccontextmanager
async def running(*arguments: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), **variables},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def way(fresh_nats: EmbeddedNats, eventually: Eventually) -> AsyncIterator[Way]:
    port = free_port()
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(ScriptedSink())
        connection = await stack.enter_async_context(await connect(fresh_nats.url, "test"))
        function = running(
            "-m",
            "kannon.runtime.serve",
            FUNCTION_SOURCE=str(ROOT / "functions" / "events" / "main.py"),
            FUNCTION_TARGET="events",
            HOST="127.0.0.1",
            PORT=str(port),
            K_KEYS_EVENTS=encode_key(KEY),
            K_SINK=sink.url,
            K_CE_OVERRIDES='{"extensions": {"cluster": "blue"}}',
        )
        process = await stack.enter_async_context(function)
        source = running(
            "-m",
            "nats_source",
            K_NATS_URL=fresh_nats.url,
            K_SOURCE_ROUTES=f"events=http://127.0.0.1:{port}/",
        )
        await stack.enter_async_context(source)
        await eventually(lambda: answers_http(port, "/", host="127.0.0.1"))
        yield Way(sink, NatsPublisher(connection, Sealer(KEY, "/kannon/test"), utc_now), process)


def most_memory(pid: int) -> int:
    """The most that a process ever had in memory, in kilobytes."""
    [most] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(most)


def written(asked: Asked) -> dict[str, object]:
    """The event of a request."""
    event: dict[str, object] = {
        name.lower().removeprefix("ce-"): value
        for name, value in asked.headers.items()
        if name.lower().startswith("ce-")
    }
    return event | {"datacontenttype": asked.headers["content-type"], "data": json.loads(asked.data)}


async def test_an_outcome_arrives_as_one_event_as_its_contract_says(way: Way, eventually: Eventually) -> None:
    await way.publish(1)
    await eventually(lambda: way.sink.asked)
    event = written(way.sink.asked[0])
    check_event(event)
    assert (event["subject"], event["partitionkey"], event["traceparent"]) == ("7.0", "7.0", TRACE)
    assert event["cluster"] == "blue"


async def test_ten_thousand_reach_a_sink_that_fails_a_third_of_the_time_and_each_has_one_id(
    way: Way, eventually: Eventually
) -> None:
    chance = random.Random(9)
    taken: Counter[tuple[str, str]] = Counter()

    def answer(asked: Asked) -> object:
        if chance.random() < 1 / 3:
            return status(chance.choice((500, 503, 429)))
        taken[json.loads(asked.data)["delivery"], asked.id] += 1
        return status(202)

    way.sink.respond = answer  # type: ignore[assignment]
    await way.publish(10_000)
    await eventually(lambda: len({delivery for delivery, _ in taken}) == 10_000, 60)
    assert len({id for _, id in taken}) == len(taken) == 10_000
    assert most_memory(way.function.pid) < 64 * 1024


async def test_one_that_is_refused_for_good_ends_among_the_dead_letters_alone(
    way: Way, eventually: Eventually, fresh_nats: EmbeddedNats
) -> None:
    way.sink.respond = lambda asked: status(400 if asked.headers["ce-subject"] == "7.1" else 202)
    await way.publish(2)
    async with await connect(fresh_nats.url, "look") as connection:

        async def letters() -> int:
            return (await connection.js.stream_info("KANNON_DLQ")).state.messages

        async def is_buried() -> bool:
            return await letters() == 1

        await eventually(is_buried, 60)
        letter = await connection.js.get_msg("KANNON_DLQ", 1)
    assert letter.headers
    assert letter.headers["kannon-item"] == "1"
    assert "status 400" in letter.headers["kannon-reason"]
    assert {asked.headers["ce-subject"] for asked in way.sink.asked} == {"7.0", "7.1"}
