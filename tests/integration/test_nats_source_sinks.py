"""The source against a sink that misbehaves in all ways, one that starts for long, and beside another."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.streams import ACK_WAIT, ensure_streams
from kannon.cli.standalone.nats import EmbeddedNats
from tests.conftest import Eventually
from tests.gate import Gate
from tests.scripted_sink import Asked, ScriptedSink, status
from tests.source_surroundings import PACE, Surroundings, chunk, surroundings

COLD_START = 20.0
SCALE = 0.1
"""Of the times of a cold start and the ack wait, which keep their ratio."""
WAITED_OUT = (401, 403, 404, 408, 409, 429, 503)


@pytest.fixture
async def around(fresh_nats: EmbeddedNats) -> AsyncIterator[Surroundings]:
    async with surroundings(fresh_nats) as found:
        yield found


@dataclass
class Unruly:
    """Answers each item as it was drawn for it, and sees to it that nothing is asked for twice at once.

    Attributes:
        poison: (event, item) that always fail.
        forged: events that are refused for good.
        ahead: what is still to be answered to an event before it is done.
        done: how often each (event, item) was.
        overlapping: events that were asked for while they were asked for.
        hasty: events that came back before a Retry-After was over.
    """

    poison: set[tuple[str, int]] = field(default_factory=set)
    forged: set[str] = field(default_factory=set)
    ahead: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    done: Counter[tuple[str, int]] = field(default_factory=Counter)
    overlapping: set[str] = field(default_factory=set)
    hasty: set[str] = field(default_factory=set)
    _open: set[str] = field(default_factory=set)
    _not_before: dict[str, float] = field(default_factory=dict)

    async def respond(self, asked: Asked) -> web.Response:
        """Answer, or do not."""
        if asked.id in self._open:
            self.overlapping.add(asked.id)
        if asked.at < self._not_before.get(asked.id, 0.0):
            self.hasty.add(asked.id)
        self._open.add(asked.id)
        try:
            return await self._answer(asked)
        finally:
            self._open.discard(asked.id)

    async def _answer(self, asked: Asked) -> web.Response:
        await asyncio.sleep(0.001)
        if asked.id in self.forged:
            return status(400)
        if self.ahead[asked.id]:
            match self.ahead[asked.id].pop():
                case 429:
                    self._not_before[asked.id] = asked.at + PACE.max_retry_after
                    return status(429, retry_after="60")
                case 0:
                    asked.hang_up()
                    return status(204)
                case code:
                    return status(code)
        if any((asked.id, item) in self.poison for item in asked.items):
            return status(500)
        self.done.update((asked.id, item) for item in asked.items)
        return status(204)


@pytest.mark.parametrize("seed", [1, 2])
async def test_of_what_an_unruly_sink_is_given_nothing_is_lost_doubled_or_early(
    around: Surroundings, eventually: Eventually, seed: int
) -> None:
    chance, unruly = random.Random(seed), Unruly()
    await ensure_streams(around.connection.js)
    items: set[tuple[str, int]] = set()
    for number in range(120):
        size = chance.choice((1, 1, 3, 8))
        event = await around.publish(chunk(number, size))
        items |= {(event, item) for item in range(size)}
        unruly.ahead[event] = chance.choices(WAITED_OUT, k=chance.randrange(3))
        match chance.randrange(8):
            case 0:
                unruly.poison |= {(event, item) for item in chance.sample(range(size), k=min(size, 2))}
            case 1:
                unruly.forged.add(event)
            case 2:
                unruly.ahead[event].append(chance.choice((0, 500, 502)))
    around.sink.respond = unruly.respond
    async with around.route():
        await eventually(lambda: len(around.sink.asked) > 150)
        await around.sink.close()  # refused, and what is open is cut
        await around.sink.listen()
        await eventually(around.is_drained)
    forged = {(event, item) for event, item in items if event in unruly.forged}
    assert set(unruly.done) == items - forged - unruly.poison
    doubled = {event for (event, _), times in unruly.done.items() if times > 1}
    assert len(doubled) <= around.concurrency, "but for what was under way when the sink went"
    assert (unruly.overlapping, unruly.hasty) == (set(), set())
    assert await around.handed_out() == 120
    letters = Counter((letter["ce-id"], letter["kannon-item"]) for letter in await around.letters())
    whole = {event: max(item for other, item in items if other == event) + 1 for event in unruly.forged}
    expected = [(event, str(item)) for event, item in unruly.poison - forged]
    expected += [(event, f"0-{size}" if size > 1 else "0") for event, size in whole.items()]
    assert letters == Counter(expected)


@pytest.mark.parametrize("way", ["held", "refused", "503"])
async def test_a_start_that_takes_20_s_is_awaited_and_nothing_is_handed_out_again(
    around: Surroundings, eventually: Eventually, way: str
) -> None:
    """Knative's activator holds requests meanwhile; elsewhere nobody listens yet, or somebody says so."""
    around.ack_wait, around.keep_every = ACK_WAIT * SCALE, ACK_WAIT * SCALE / 3
    await ensure_streams(around.connection.js, ack_wait=around.ack_wait)
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    async def respond(asked: Asked) -> web.Response:
        if way == "503" and not started.is_set():
            return status(503)
        await started.wait()
        return status(204)

    around.sink.respond = respond
    if way == "refused":
        await around.sink.close()
    events = {await around.publish(chunk(number)) for number in range(4)}
    async with around.route():
        ready_at = loop.time() + COLD_START * SCALE
        await eventually(lambda: loop.time() > ready_at)
        assert await around.waiting() == len(events)
        started.set()
        if way == "refused":
            await around.sink.listen()
        await eventually(around.is_drained)
    assert {asked.id for asked in around.sink.asked} == events
    assert len(around.sink.asked) == len(events) or way == "503"
    assert await around.handed_out() == len(events)
    assert not await around.letters()


async def test_two_sources_share_the_work_of_one_consumer(
    around: Surroundings, eventually: Eventually
) -> None:
    async def slowly(_asked: Asked) -> web.Response:
        await asyncio.sleep(0.01)
        return status(204)

    await ensure_streams(around.connection.js)
    events = {await around.publish(chunk(number)) for number in range(200)}
    async with (
        ScriptedSink(slowly) as other,
        await connect(around.nats.url, "other", give_up_after=10) as connection,
    ):
        around.sink.respond = slowly
        async with around.route(), around.route(to=other, connection=connection):
            await eventually(around.is_drained)
        shares = [[asked.id for asked in sink.asked] for sink in (around.sink, other)]
    assert sorted(shares[0] + shares[1]) == sorted(events)
    assert min(map(len, shares)) >= len(events) / 4
    assert await around.handed_out() == len(events)


async def test_what_a_source_had_in_hand_when_it_vanished_another_does_after_the_ack_wait(
    around: Surroundings, eventually: Eventually
) -> None:
    around.ack_wait, around.keep_every = 1.0, 0.3
    await ensure_streams(around.connection.js, ack_wait=around.ack_wait)
    answer = asyncio.Event()

    async def when_told(_asked: Asked) -> web.Response:
        await answer.wait()
        return status(204)

    events = {await around.publish(chunk(number)) for number in range(4)}
    port = urlsplit(around.nats.url).port
    assert port
    async with ScriptedSink(when_told) as other, Gate(port) as gate:
        behind = around.nats.url.replace(f":{port}", f":{gate.port}")
        async with (
            await connect(behind, "vanishing", give_up_after=10) as connection,
            around.route(to=other, connection=connection),
        ):
            await eventually(lambda: len(other.asked) == len(events))
            async with around.route():
                loop = asyncio.get_running_loop()
                kept_until = loop.time() + 2 * around.ack_wait
                await eventually(lambda: loop.time() > kept_until)
                assert not around.sink.asked, "it is alive, and has them still"
                vanished_at = loop.time()
                gate.shut()
                await eventually(around.is_drained)
            answer.set()
            gate.open()
    assert {asked.id for asked in around.sink.asked} == events
    earliest = vanished_at + around.ack_wait - around.keep_every
    assert min(asked.at for asked in around.sink.asked) >= earliest - 0.1
