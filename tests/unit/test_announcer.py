"""Announcing what was accepted: in chunks, in the background, and only while the stream has room."""

import asyncio

import pytest

from api_gateway.announcer import CHUNKS_A_TURN, LARGE, MAX_WAITING, Announcer
from api_gateway.stream_gauge import FRESH_SECONDS, LITTLE, STALE_SECONDS, StreamGauge
from kannon.core.payloads import AnyPayload, BatchAccepted
from tests.conftest import Eventually
from tests.fakes import FakePublisher
from tests.fakes_gateway import FakeIntake, FakeRoom


class Set:
    """An announcer with all that it needs, and a clock to turn."""

    def __init__(self) -> None:
        self.intake, self.publisher, self.room, self.now = FakeIntake(), FakePublisher(), FakeRoom(), 0.0
        self.gauge = StreamGauge(self.room, lambda: self.now)
        self.announcer = Announcer(self.intake, self.publisher, self.gauge)

    async def announce(self, recipients: int, batch: int = 7) -> list[BatchAccepted]:
        before = len(self.publisher.payloads)
        addresses = [f"r{i}@example.org" for i in range(recipients)]
        self.announcer.announce(batch, addresses, "00-trace")
        await self.finished()
        published = self.publisher.payloads[before:]
        assert all(isinstance(payload, BatchAccepted) for payload in published)
        return [payload for payload in published if isinstance(payload, BatchAccepted)]

    async def finished(self) -> None:
        """Wait until nothing is announced any more."""
        async with asyncio.timeout(5):
            while True:
                if not self.announcer.waiting:
                    return
                await asyncio.sleep(0)


@pytest.fixture
def parts() -> Set:
    return Set()


async def test_one_recipient_is_a_chunk_of_one(parts: Set) -> None:
    (chunk,) = await parts.announce(1)
    assert (chunk.batch, chunk.announcement) == (7, 1)
    assert [(item.seq, item.address) for item in chunk.recipients] == [(0, "r0@example.org")]
    assert parts.publisher.traces == ["00-trace"]
    assert parts.intake.marked == {7: 1}


async def test_many_go_by_the_hundred(parts: Set) -> None:
    chunks = await parts.announce(5250)
    assert [len(chunk.recipients) for chunk in chunks] == [100] * 52 + [50]
    assert [item.seq for chunk in chunks for item in chunk.recipients] == list(range(5250))
    assert parts.intake.marked == {7: 5250}


async def test_none_is_nothing(parts: Set) -> None:
    assert await parts.announce(0) == []
    assert parts.room.asked == 0


@pytest.mark.parametrize(("fullness", "announced"), [(0.5, True), (0.51, False)])
async def test_a_stream_more_than_half_full_is_left_alone(
    parts: Set, fullness: float, announced: bool
) -> None:
    parts.room.full = fullness
    assert bool(await parts.announce(1)) is announced
    assert parts.intake.marked == ({7: 1} if announced else {})


async def test_a_large_batch_goes_on_as_what_was_announced_is_worked_off(
    parts: Set, eventually: Eventually
) -> None:
    parts.room.chunks = LITTLE
    addresses = [f"r{i}@example.org" for i in range(2 * 100 * CHUNKS_A_TURN)]
    parts.announcer.announce(7, addresses, "")
    await eventually(lambda: parts.room.looks > 4)
    assert not parts.publisher.payloads
    parts.room.chunks, parts.room.looks = 0, 0
    await parts.finished()
    assert len(parts.publisher.payloads) == 2 * CHUNKS_A_TURN
    assert parts.room.looks == 4, "of two kinds, before each turn"
    assert parts.intake.marked == {7: len(addresses)}


async def test_a_small_batch_does_not_wait_for_a_large_one(parts: Set, eventually: Eventually) -> None:
    parts.room.chunks = LITTLE
    parts.announcer.announce(7, ["r@example.org"] * (LARGE + 1), "")
    parts.announcer.announce(8, ["r@example.org"] * LARGE, "")
    await eventually(lambda: parts.intake.marked)
    assert parts.intake.marked == {8: LARGE}
    await parts.announcer.close(0)


async def test_large_batches_take_turns(parts: Set) -> None:
    size = 100 * CHUNKS_A_TURN
    for batch in (7, 8):
        parts.announcer.announce(batch, ["r@example.org"] * 2 * size, "")
    await parts.finished()
    batches = [payload.batch for payload in parts.publisher.payloads if isinstance(payload, BatchAccepted)]
    turns = [batch for index, batch in enumerate(batches) if index % CHUNKS_A_TURN == 0]
    assert turns == [7, 8, 7, 8]


async def test_a_gateway_that_stops_leaves_what_a_large_batch_still_has(parts: Set) -> None:
    publish = parts.publisher.publish

    async def stopping(payload: AnyPayload, traceparent: str = "") -> int:
        closing.append(asyncio.create_task(parts.announcer.close(5)))
        return await publish(payload, traceparent)

    closing: list[asyncio.Task[None]] = []
    parts.publisher.publish = stopping  # type: ignore[method-assign]
    assert len(await parts.announce(100 * CHUNKS_A_TURN * 5)) == CHUNKS_A_TURN
    await asyncio.gather(*closing)
    assert parts.intake.marked == {7: 100 * CHUNKS_A_TURN}


async def test_no_more_is_announced_of_a_large_batch_that_was_cancelled(parts: Set) -> None:
    publish = parts.publisher.publish

    async def cancelled(payload: AnyPayload, traceparent: str = "") -> int:
        parts.announcer.drop(7)
        return await publish(payload, traceparent)

    parts.publisher.publish = cancelled  # type: ignore[method-assign]
    assert len(await parts.announce(100 * CHUNKS_A_TURN * 5)) == CHUNKS_A_TURN
    assert parts.announcer.waiting == 0


async def test_how_far_a_large_batch_came_is_kept(parts: Set) -> None:
    publish = parts.publisher.publish

    async def until_away(payload: AnyPayload, traceparent: str = "") -> int:
        parts.room.away = True
        return await publish(payload, traceparent)

    parts.publisher.publish = until_away  # type: ignore[method-assign]
    assert len(await parts.announce(5000)) == CHUNKS_A_TURN
    assert parts.intake.marked == {7: 100 * CHUNKS_A_TURN}


async def test_what_cannot_be_published_is_left(parts: Set) -> None:
    parts.publisher.away = True
    assert await parts.announce(1) == []
    parts.publisher.away = False
    parts.intake.away = True
    assert len(await parts.announce(1)) == 1
    assert parts.intake.marked == {}


async def test_what_waits_is_bounded(parts: Set) -> None:
    parts.room.chunks = LITTLE
    addresses = ["r@example.org"] * MAX_WAITING
    parts.announcer.announce(1, addresses, "")
    parts.announcer.announce(2, addresses, "")
    assert parts.announcer.waiting == MAX_WAITING
    await parts.announcer.close(0)
    assert (parts.announcer.waiting, parts.intake.marked) == (0, {})


async def test_good_news_is_believed_for_a_while(parts: Set) -> None:
    for _ in range(5):
        assert await parts.gauge.has_room()
    assert parts.room.asked == 1
    parts.now = FRESH_SECONDS * 2
    parts.room.full = 1.0
    assert await parts.gauge.has_room()  # nobody waits for the answer
    await parts.gauge.close()
    assert not await parts.gauge.has_room()
    assert parts.room.asked == 2


async def test_bad_news_is_not(parts: Set) -> None:
    parts.room.away = True
    assert not await parts.gauge.has_room()
    parts.now, parts.room.away = FRESH_SECONDS * 2, False
    assert await parts.gauge.has_room()


async def test_old_news_is_not(parts: Set) -> None:
    assert await parts.gauge.has_room()
    parts.now, parts.room.full = STALE_SECONDS * 2, 1.0
    assert not await parts.gauge.has_room()


async def test_many_ask_once(parts: Set) -> None:
    assert all(await asyncio.gather(*(parts.gauge.has_room() for _ in range(50))))
    assert parts.room.asked == 1
