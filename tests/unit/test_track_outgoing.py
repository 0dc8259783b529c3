"""What readers did, on its way to NATS: chunks, what waits while NATS is away, and what is lost."""

import logging
from dataclasses import replace

import pytest

from functions.track import outgoing as module
from functions.track.outgoing import MAX_KEPT, Outgoing
from kannon.core.payloads import Act, Engagement, EngagementsSeen
from kannon.core.tracking.policy import Mode
from tests.conftest import Eventually
from tests.fakes import FakePublisher
from tests.mail import DOMAIN, NOW


def opened(number: int = 0) -> Engagement:
    return Engagement(f"id{number}", Act.OPENED, Mode.IDENTIFIED, DOMAIN, 7, NOW, seq=number)


def sizes(publisher: FakePublisher) -> list[int]:
    return [len(one.engagements) for one in publisher.payloads if isinstance(one, EngagementsSeen)]


def ids(publisher: FakePublisher) -> list[str]:
    return [
        engagement.id
        for one in publisher.payloads
        if isinstance(one, EngagementsSeen)
        for engagement in one.engagements
    ]


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


async def test_they_are_published_in_chunks_in_their_order(
    publisher: FakePublisher, eventually: Eventually
) -> None:
    outgoing = Outgoing(publisher)
    outgoing.start()
    for number in range(250):
        outgoing.put(opened(number))
    await eventually(lambda: outgoing.counts()["published"] == 250)
    assert sizes(publisher) == [100, 100, 50]
    assert ids(publisher) == [f"id{number}" for number in range(250)]
    await outgoing.close()


async def test_large_ones_make_smaller_chunks(publisher: FakePublisher) -> None:
    outgoing = Outgoing(publisher)
    for number in range(100):
        outgoing.put(replace(opened(number), url="x" * 8_000))
    await outgoing.close()
    assert max(sizes(publisher)) < 60
    assert sum(sizes(publisher)) == 100


async def test_while_nats_is_away_they_wait_and_none_is_lost(
    publisher: FakePublisher, eventually: Eventually
) -> None:
    publisher.away = True
    outgoing = Outgoing(publisher)
    outgoing.start()
    for number in range(120):
        outgoing.put(opened(number))
    await eventually(lambda: outgoing.counts()["pending"] == 120)
    publisher.away = False
    await eventually(lambda: outgoing.counts() == {"published": 120, "lost": 0, "pending": 0})
    assert ids(publisher) == [f"id{number}" for number in range(120)]
    await outgoing.close()


async def test_what_does_not_fit_any_more_is_lost_counted_and_told(
    publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LAST_SECONDS", 0.2)
    publisher.away = True
    outgoing = Outgoing(publisher)
    large = replace(opened(), url="x" * 4_000)
    for _ in range(MAX_KEPT // 4_000):
        outgoing.put(large)
    lost, kept = outgoing.counts()["lost"], outgoing.counts()["pending"]
    assert 0 < lost < 500
    assert kept * 4_000 < MAX_KEPT
    with caplog.at_level(logging.ERROR):
        await outgoing.close()
    assert outgoing.counts() == {"published": 0, "lost": lost + kept, "pending": 0}
    (record,) = caplog.records
    assert record.__dict__["lost_in_all"] == lost + kept


async def test_at_the_end_all_that_is_left_is_published(publisher: FakePublisher) -> None:
    outgoing = Outgoing(publisher)
    outgoing.start()
    outgoing.put(opened())
    outgoing.put_click("reader", replace(opened(1), act=Act.CLICKED, url="https://shop.example.org/"))
    await outgoing.close()
    assert ids(publisher) == ["id0", "id1"]


async def test_a_click_that_is_alone_is_told_after_a_while(
    publisher: FakePublisher, eventually: Eventually
) -> None:
    outgoing = Outgoing(publisher)
    outgoing.start()
    outgoing.put_click("reader", replace(opened(1), act=Act.CLICKED, url="https://shop.example.org/"))
    await eventually(lambda: ids(publisher) == ["id1"])
    await outgoing.close()


async def test_a_chunk_that_cannot_be_published_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, publisher: FakePublisher
) -> None:
    kept = publisher.publish

    async def broken(payload: EngagementsSeen, traceparent: str = "") -> int:
        if payload.engagements[0].id == "id0":
            raise RuntimeError("a mistake of ours")
        return await kept(payload, traceparent)

    monkeypatch.setattr(publisher, "publish", broken)
    outgoing = Outgoing(publisher)
    for number in range(150):
        outgoing.put(opened(number))
    await outgoing.close()
    assert outgoing.counts() == {"published": 50, "lost": 100, "pending": 0}
