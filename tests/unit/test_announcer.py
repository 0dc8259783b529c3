"""Announcing what was accepted: in chunks, in the background, and only while the stream has room."""

import asyncio

import pytest

from api_gateway.announcer import MAX_WAITING, Announcer
from api_gateway.stream_gauge import FRESH_SECONDS, STALE_SECONDS, StreamGauge
from kannon.core.payloads import AnyPayload, BatchAccepted
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
        await self.announcer.close(5)
        published = self.publisher.payloads[before:]
        assert all(isinstance(payload, BatchAccepted) for payload in published)
        return [payload for payload in published if isinstance(payload, BatchAccepted)]


@pytest.fixture
def parts() -> Set:
    return Set()


async def test_one_recipient_is_a_chunk_of_one(parts: Set) -> None:
    (chunk,) = await parts.announce(1)
    assert (chunk.batch, chunk.announcement) == (7, 1)
    assert [(item.seq, item.address) for item in chunk.recipients] == [(0, "r0@example.org")]
    assert parts.publisher.traces == ["00-trace"]
    assert parts.intake.marked == [7]


async def test_many_go_by_the_hundred(parts: Set) -> None:
    chunks = await parts.announce(5250)
    assert [len(chunk.recipients) for chunk in chunks] == [100] * 52 + [50]
    assert [item.seq for chunk in chunks for item in chunk.recipients] == list(range(5250))
    assert parts.intake.marked == [7]


async def test_none_is_nothing(parts: Set) -> None:
    assert await parts.announce(0) == []
    assert parts.room.asked == 0


@pytest.mark.parametrize(("fullness", "announced"), [(0.5, True), (0.51, False)])
async def test_a_stream_more_than_half_full_is_left_alone(
    parts: Set, fullness: float, announced: bool
) -> None:
    parts.room.full = fullness
    assert bool(await parts.announce(1)) is announced
    assert parts.intake.marked == ([7] if announced else [])


async def test_room_is_looked_for_again_within_a_large_batch(parts: Set) -> None:
    publish = parts.publisher.publish

    async def filling(payload: AnyPayload, traceparent: str = "") -> int:
        parts.room.full, parts.now = 1.0, parts.now + 2 * STALE_SECONDS
        return await publish(payload, traceparent)

    parts.publisher.publish = filling  # type: ignore[method-assign]
    assert len(await parts.announce(10_000)) < 100
    assert parts.intake.marked == []


async def test_what_cannot_be_published_is_left(parts: Set) -> None:
    parts.publisher.away = True
    assert await parts.announce(1) == []
    parts.publisher.away = False
    parts.intake.away = True
    assert len(await parts.announce(1)) == 1
    assert parts.intake.marked == []


async def test_what_waits_is_bounded(parts: Set) -> None:
    never = asyncio.Event()

    async def stuck(payload: AnyPayload, traceparent: str = "") -> int:
        await never.wait()
        return 1

    parts.publisher.publish = stuck  # type: ignore[method-assign]
    addresses = ["r@example.org"] * MAX_WAITING
    parts.announcer.announce(1, addresses, "")
    parts.announcer.announce(2, addresses, "")
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= 3
    await parts.announcer.close(0)
    assert parts.intake.marked == []


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
