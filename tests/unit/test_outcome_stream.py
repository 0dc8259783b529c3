"""StatsApiV3.StreamOutcomes: from a cursor on, to the end or on and on, of one Domain, of some kinds."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from api_gateway import outcome_stream
from api_gateway.outcome_stream import FOLLOWERS, FOLLOWING, TELLING, OutcomeStream
from kannon.adapters.pb import stats_v3_pb2 as pb
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import BadInput, CursorAhead, LimitReached, Unavailable
from kannon.core.public_events import public_event
from kannon.core.statistics import Event
from tests.fakes_statistics import FakeOutcomeLog
from tests.unit.test_public_events import FACT
from tests.unit.test_statistics_desk import CALL, DOMAIN, EVENT

pytestmark = pytest.mark.usefixtures("_quick")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_stream, "SHORTEST", 0.001)
    monkeypatch.setattr(outcome_stream, "LONGEST", 0.001)


class Clock:
    """Goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log() -> FakeOutcomeLog:
    log = FakeOutcomeLog()
    log.commit(*(event(seq) for seq in range(3)))
    return log


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(log: FakeOutcomeLog, clock: Clock) -> OutcomeStream:
    return OutcomeStream(log, clock)


def event(seq: int, **changes: object) -> Event:
    return replace(EVENT, delivery=DeliveryId(7, seq), **changes)  # type: ignore[arg-type]


def asked(stream: OutcomeStream, **wanted: object) -> AsyncGenerator[pb.StreamOutcomesRes, None]:
    return stream.stream_outcomes(pb.StreamOutcomesReq(domain=DOMAIN, **wanted), CALL)  # type: ignore[arg-type]


async def told(stream: OutcomeStream, **wanted: object) -> tuple[list[str], str]:
    """The Deliveries of all messages, and the last cursor."""
    found, cursor = [], ""
    async for message in asked(stream, **wanted):
        found += [one.delivery for one in message.outcomes]
        cursor = message.cursor
    return found, cursor


async def test_it_gives_all_that_there_is_and_a_cursor_from_which_to_go_on(
    stream: OutcomeStream, log: FakeOutcomeLog
) -> None:
    found, cursor = await told(stream)
    assert found == ["7.0", "7.1", "7.2"]
    assert await told(stream, cursor=cursor) == ([], cursor)
    log.commit(event(3))
    assert (await told(stream, cursor=cursor))[0] == ["7.3"]


async def test_long_ones_come_in_pieces_each_with_a_cursor(
    stream: OutcomeStream, log: FakeOutcomeLog
) -> None:
    log.commit(*(event(seq) for seq in range(3, 1203)))
    messages = [message async for message in asked(stream)]
    assert [len(message.outcomes) for message in messages] == [500, 500, 203]
    found, _ = await told(stream, cursor=messages[0].cursor)
    assert len(found) == 703


async def test_of_no_outcomes_there_is_one_message_that_says_so(stream: OutcomeStream) -> None:
    other = stream.stream_outcomes(pb.StreamOutcomesReq(domain="other.example"), CALL)
    assert [message async for message in other] == [pb.StreamOutcomesRes()]


async def test_some_are_chosen_by_type_message_and_address(
    stream: OutcomeStream, log: FakeOutcomeLog
) -> None:
    log.commit(
        event(3, type="opened"), event(4, email="eve@example.org"), event(5, message_id=f"msg_z@{DOMAIN}")
    )
    assert (await told(stream, types=["opened", "clicked"]))[0] == ["7.3"]
    assert (await told(stream, email="eve@example.org"))[0] == ["7.4"]
    assert (await told(stream, message_id=f"msg_z@{DOMAIN}"))[0] == ["7.5"]


async def test_the_event_that_tells_of_an_outcome_is_named(
    stream: OutcomeStream, log: FakeOutcomeLog
) -> None:
    data = {"stage": "rcpt", "hard": True, "late": True}
    told_of = event(9, type="error", at=FACT.at, attempt=FACT.attempt, data=data)
    log.commit(told_of)
    messages = [message async for message in asked(stream, types=["error"])]
    (outcome,) = messages[0].outcomes
    assert outcome.event_id == public_event("deferred", replace(FACT, delivery="7.9")).id
    assert (outcome.stage, outcome.hard, outcome.late, outcome.permanent) == ("rcpt", True, True, False)


async def test_who_follows_gets_what_comes_and_only_that_from_now_on(
    stream: OutcomeStream, log: FakeOutcomeLog
) -> None:
    following = asked(stream, follow=True, from_now=True)
    assert not (await anext(following)).outcomes  # it is there
    log.commit(event(8))
    assert [one.delivery for one in (await anext(following)).outcomes] == ["7.8"]
    await following.aclose()


async def test_who_follows_is_told_now_and_then_how_far_it_has_come(
    stream: OutcomeStream, log: FakeOutcomeLog, clock: Clock
) -> None:
    following = asked(stream, follow=True, types=["clicked"])
    first = await anext(following)
    log.commit(event(8))
    clock.now += TELLING
    later = await anext(following)
    assert not first.outcomes
    assert not later.outcomes
    assert (await told(stream, cursor=later.cursor))[0] in ([], ["7.8"])
    await following.aclose()


async def test_after_an_hour_it_ends_so_that_credentials_are_looked_at_again(
    stream: OutcomeStream, clock: Clock
) -> None:
    following = asked(stream, follow=True)
    await anext(following)
    clock.now += FOLLOWING
    with pytest.raises(StopAsyncIteration):
        await anext(following)


async def test_a_gateway_that_stops_sends_followers_away_with_their_cursor(stream: OutcomeStream) -> None:
    following = asked(stream, follow=True)
    assert (await anext(following)).cursor
    stream.close()
    with pytest.raises(Unavailable, match="cursor"):
        await anext(following)


async def test_a_domain_may_not_hold_more_than_some_streams_and_those_that_ended_do_not_count(
    stream: OutcomeStream,
) -> None:
    streams = [asked(stream, follow=True) for _ in range(FOLLOWERS)]
    for one in streams:
        await anext(one)
    with pytest.raises(LimitReached):
        await anext(asked(stream, follow=True))
    await streams[0].aclose()
    another = asked(stream, follow=True)
    await anext(another)
    await asyncio.gather(another.aclose(), *(one.aclose() for one in streams[1:]))


@pytest.mark.parametrize(
    "wanted",
    [
        {"cursor": "x"},
        {"cursor": "e30"},
        {"cursor": "ä"},
        {"types": ["x"]},
        {"email": "x"},
        {"message_id": "\0"},
    ],
)
async def test_what_is_no_question_is_refused(stream: OutcomeStream, wanted: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(wanted))):
        await told(stream, **wanted)


async def test_a_cursor_and_from_now_exclude_each_other(stream: OutcomeStream) -> None:
    _, cursor = await told(stream)
    with pytest.raises(BadInput, match="from_now"):
        await told(stream, cursor=cursor, from_now=True)


async def test_a_cursor_of_another_database_is_refused(stream: OutcomeStream, log: FakeOutcomeLog) -> None:
    log.commit(event(5))
    _, cursor = await told(stream)
    log.commits.clear()
    with pytest.raises(CursorAhead):
        await told(stream, cursor=cursor)
