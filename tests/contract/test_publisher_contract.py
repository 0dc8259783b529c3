"""Publishing events, held to one contract by the fake and by NATS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import BatchAccepted as Accepted
from kannon.core.payloads import Candidate, DeliveriesDue, Emitted, EnvelopesUntaken
from kannon.events import Sealer
from kannon.ports import EventPublisher
from kannon.runtime.clock import utc_now
from tests.fakes import FakePublisher

ACCEPTED = Accepted(batch=7, announcement=1, recipients=(Candidate(0, "a@example.com"),))


@dataclass
class Subject:
    """A publisher, and a way to make it fail."""

    publisher: EventPublisher
    go_away: Callable[[], Awaitable[None]]
    come_back: Callable[[], Awaitable[None]]


def fake() -> Subject:
    publisher = FakePublisher()

    async def set_away(away: bool) -> None:
        publisher.away = away

    return Subject(publisher, lambda: set_away(True), lambda: set_away(False))


@pytest.fixture(params=["fake", "nats"])
async def subject(request: pytest.FixtureRequest, fresh_nats: EmbeddedNats) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield fake()
        return
    async with await connect(fresh_nats.url, "test", give_up_after=10) as connection:

        async def come_back() -> None:
            await fresh_nats.start()
            await connection.wait_up()

        publisher = NatsPublisher(connection, Sealer(b"k" * 32, "/kannon/test"), utc_now)
        yield Subject(publisher, fresh_nats.stop, come_back)


async def test_sequence_numbers_grow(subject: Subject) -> None:
    first = await subject.publisher.publish(ACCEPTED)
    second = await subject.publisher.publish(replace(ACCEPTED, announcement=2))
    assert 0 < first < second


async def test_a_repeat_keeps_its_place_and_a_new_emission_gets_another(subject: Subject) -> None:
    untaken = [EnvelopesUntaken((Emitted(7, 0, 1, emission),)) for emission in (1, 2)]
    first = await subject.publisher.publish(untaken[0])
    assert await subject.publisher.publish(untaken[0]) == first
    assert await subject.publisher.publish(untaken[1]) > first


async def test_many_at_once(subject: Subject) -> None:
    due = [DeliveriesDue(1, f"nonce {number}") for number in range(200)]
    numbers = await asyncio.gather(*(subject.publisher.publish(payload) for payload in due))
    assert len(set(numbers)) == 200


async def test_what_is_away_says_so_and_comes_back(subject: Subject) -> None:
    await subject.publisher.publish(ACCEPTED)
    await subject.go_away()
    again = replace(ACCEPTED, announcement=2)
    with pytest.raises(EventsUnavailable):
        await subject.publisher.publish(again)
    await subject.come_back()
    assert await subject.publisher.publish(again) > 0
