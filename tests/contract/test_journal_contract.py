"""What every journal does: the fake in memory, and the SQLite file."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_smtp.attempts import AttemptId, Result, State
from edge_smtp.journal import Counts, Journal
from edge_smtp.sqlite_journal import SqliteJournal
from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import Delivered, Emitted, Refused
from kannon.core.replies import Stage
from kannon.ports import SubmitVerdict
from tests.edge_samples import FAR_MS, an_envelope
from tests.memory_journal import MemoryJournal

BORN_MS = 1_690_000_000_000
AT_MS = 1_700_000_123_456
DELIVERED = Result(AT_MS, "", 250, "2.0.0", "queued as ‹1›", "mx.example.test", 0)
REFUSED = Result(AT_MS, Stage.RCPT.value, 550, "5.1.1", "no such user", "mx.example.test", 0)
FIRST = AttemptId(7, 1, 1)

Open = Callable[..., Awaitable[Journal]]


@pytest.fixture(params=["memory", "sqlite"])
async def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[Journal] = []

    async def open_one(capacity: int = 100) -> Journal:
        journal: Journal
        if request.param == "memory":
            journal = MemoryJournal(capacity, BORN_MS)
        else:
            journal = await SqliteJournal.open(tmp_path / "journal", capacity, BORN_MS)
        opened.append(journal)
        return journal

    yield open_one
    for journal in opened:
        await journal.close()


@pytest.fixture
async def journal(open_journal: Open) -> Journal:
    return await open_journal()


async def take(journal: Journal, *envelopes: object) -> list[tuple[str, bool]]:
    return [(a.verdict.value, a.is_new) for a in await journal.take(envelopes)]  # type: ignore[arg-type]


async def publish_all(journal: Journal) -> list[Delivered | Refused]:
    events = await journal.unpublished(100)
    await journal.mark_published([event.emitted for event in events])
    return list(events)


async def test_takes_an_envelope_once_and_gives_it_back(journal: Journal) -> None:
    envelope = an_envelope()
    assert await take(journal, envelope) == [("taken", True)]
    assert await take(journal, envelope) == [("taken", False)]
    assert await journal.envelope(FIRST) == envelope


async def test_answers_in_order_also_within_one_call(journal: Journal) -> None:
    answers = await take(journal, an_envelope(1), an_envelope(2), an_envelope(1), an_envelope(3))
    assert answers == [("taken", True), ("taken", True), ("taken", False), ("taken", True)]


async def test_keeps_octets_as_they_are(journal: Journal) -> None:
    bodies = [bytes(range(256)) * 40, b"x", "Grüße\r\n".encode() * 3000]
    envelopes = [an_envelope(n, body=body, recipient="jörg@exämple.test") for n, body in enumerate(bodies)]
    await journal.take(envelopes)
    assert [await journal.envelope(AttemptId.of(envelope)) for envelope in envelopes] == envelopes


async def test_what_there_is_no_room_for_is_not_taken_unless_it_is_known(journal: Journal) -> None:
    known, unknown = an_envelope(1), an_envelope(2)
    await journal.take([known])
    answers = await journal.take([known, unknown, an_envelope(3)], {known.delivery, unknown.delivery})
    assert [answer.verdict.value for answer in answers] == ["taken", "untaken", "taken"]
    assert await take(journal, unknown) == [("taken", True)]


async def test_counts_what_it_holds(journal: Journal) -> None:
    await journal.take([an_envelope(n) for n in range(3)])
    assert await journal.counts() == Counts(3, 0)
    await journal.finish(FIRST, DELIVERED)
    assert await journal.counts() == Counts(2, 1)
    await publish_all(journal)
    assert await journal.counts() == Counts(2, 0)


async def test_refuses_an_attempt_below_the_highest(journal: Journal) -> None:
    await take(journal, an_envelope(attempt=2))
    (answer,) = await journal.take([an_envelope(attempt=1)])
    assert answer.verdict is SubmitVerdict.REFUSED
    assert "attempt 2" in answer.reason


async def test_a_higher_attempt_replaces_one_that_only_waited(journal: Journal) -> None:
    await take(journal, an_envelope(attempt=1))
    assert await take(journal, an_envelope(attempt=2)) == [("taken", True)]
    assert not await journal.intend(FIRST, 0, "mx.test")
    assert await journal.envelope(FIRST) is None
    assert await journal.intend(AttemptId(7, 1, 2), 0, "mx.test")


async def test_a_higher_attempt_waits_for_one_at_the_dot_and_for_its_result(journal: Journal) -> None:
    await take(journal, an_envelope(attempt=1))
    await journal.intend(FIRST, 0, "mx.test")
    assert await take(journal, an_envelope(attempt=2)) == [("untaken", False)]
    await journal.finish(FIRST, REFUSED)
    assert await take(journal, an_envelope(attempt=2)) == [("untaken", False)]
    await publish_all(journal)
    assert await take(journal, an_envelope(attempt=2)) == [("taken", True)]


async def test_takes_no_more_than_it_has_room_for(open_journal: Open) -> None:
    journal = await open_journal(capacity=2)
    answers = await take(journal, an_envelope(1), an_envelope(2), an_envelope(3), an_envelope(1))
    assert answers == [("taken", True), ("taken", True), ("untaken", False), ("taken", False)]
    await journal.finish(FIRST, DELIVERED)
    assert await take(journal, an_envelope(3)) == [("taken", True)]
    assert await take(journal, an_envelope(4)) == [("untaken", False)]
    assert await take(journal, an_envelope(3, attempt=2)) == [("taken", True)]


async def test_a_result_takes_the_envelope_away_and_is_to_be_published(journal: Journal) -> None:
    await take(journal, an_envelope(1), an_envelope(2))
    await journal.intend(FIRST, 0, "mx.test")
    journal.results_waiting.clear()
    await journal.finish(FIRST, DELIVERED)
    assert journal.results_waiting.is_set()
    assert await journal.envelope(FIRST) is None
    at = datetime.fromtimestamp(AT_MS / 1000, UTC)
    said = (at, 250, "2.0.0", "queued as ‹1›", "mx.example.test", 0)
    assert await publish_all(journal) == [Delivered(Emitted(7, 1, 1, 1), *said)]
    assert await journal.unpublished(100) == []
    assert [u.attempt.seq for u in await journal.unfinished()] == [2]


async def test_a_refusal_tells_its_stage(journal: Journal) -> None:
    await take(journal, an_envelope())
    await journal.finish(FIRST, REFUSED)
    (event,) = await journal.unpublished(100)
    assert isinstance(event, Refused)
    assert (event.stage, event.code, event.enhanced) == (Stage.RCPT, 550, "5.1.1")


async def test_results_are_read_in_parts(journal: Journal) -> None:
    await journal.take([an_envelope(n) for n in range(5)])
    await asyncio.gather(*(journal.finish(AttemptId(7, n, 1), DELIVERED) for n in range(5)))
    assert len(await journal.unpublished(3)) == 3


async def test_the_first_result_stands(journal: Journal) -> None:
    await take(journal, an_envelope())
    await journal.finish(FIRST, DELIVERED)
    await journal.finish(FIRST, REFUSED)
    (event,) = await publish_all(journal)
    assert isinstance(event, Delivered)
    await journal.finish(FIRST, REFUSED)
    assert await journal.unpublished(100) == []


async def test_a_published_result_is_published_again_for_a_new_emission(journal: Journal) -> None:
    await take(journal, an_envelope())
    await journal.finish(FIRST, DELIVERED)
    (first,) = await publish_all(journal)
    journal.results_waiting.clear()
    assert await take(journal, an_envelope(emission=1)) == [("taken", False)]
    assert await journal.unpublished(100) == []
    assert await take(journal, an_envelope(emission=3)) == [("taken", False)]
    assert journal.results_waiting.is_set()
    (again,) = await publish_all(journal)
    assert again.emitted == Emitted(7, 1, 1, 3)
    assert again.at == first.at
    assert await journal.unpublished(100) == []


async def test_an_emission_during_the_publishing_is_published_too(journal: Journal) -> None:
    await take(journal, an_envelope())
    await journal.finish(FIRST, DELIVERED)
    (first,) = await journal.unpublished(100)
    await take(journal, an_envelope(emission=2))
    await journal.mark_published([first.emitted])
    (second,) = await publish_all(journal)
    assert (first.emitted.emission, second.emitted.emission) == (1, 2)


async def test_an_attempt_in_hand_only_changes_its_emission(journal: Journal) -> None:
    await take(journal, an_envelope())
    await journal.intend(FIRST, 0, "mx.test")
    assert await take(journal, an_envelope(emission=2)) == [("taken", False)]
    (unfinished,) = await journal.unfinished()
    assert unfinished.state is State.INTENT
    await journal.finish(FIRST, DELIVERED)
    (event,) = await journal.unpublished(100)
    assert event.emitted.emission == 2


@pytest.mark.parametrize(
    ("emission", "first_emitted_at_ms", "ambiguities"),
    [(1, BORN_MS - 1, 1), (1, BORN_MS, 0), (2, BORN_MS - 1, 1), (2, BORN_MS, 0)],
)
async def test_what_an_older_journal_may_have_transmitted_is_ambiguous(
    journal: Journal, emission: int, first_emitted_at_ms: int, ambiguities: int
) -> None:
    envelope = an_envelope(emission=emission, first_emitted_at_ms=first_emitted_at_ms)
    (answer,) = await journal.take([envelope])
    assert (answer.is_new, answer.ambiguities) == (True, ambiguities)
    assert [u.ambiguities for u in await journal.unfinished()] == [ambiguities]


async def test_ambiguities_are_counted_over_the_attempts_of_a_delivery(journal: Journal) -> None:
    await take(journal, an_envelope())
    await journal.intend(FIRST, 0, "mx.test")
    await journal.intend(FIRST, 1, "mx.test")
    (unfinished,) = await journal.unfinished()
    assert (unfinished.state, unfinished.ambiguities) == (State.INTENT, 1)
    await journal.finish(FIRST, Result(AT_MS, "mail", 451, "", "", "mx", 1))
    await publish_all(journal)
    (answer,) = await journal.take([an_envelope(attempt=2)])
    assert answer.ambiguities == 1


async def test_the_exchanger_that_may_have_seen_the_dot_is_known_for_the_attempt(journal: Journal) -> None:
    await take(journal, an_envelope())
    assert [u.exchanger for u in await journal.unfinished()] == [""]
    await journal.intend(FIRST, 0, "mx1.test")
    await journal.intend(FIRST, 0, "mx2.test")
    await take(journal, an_envelope(emission=2))
    assert [u.exchanger for u in await journal.unfinished()] == ["mx2.test"]
    await journal.finish(FIRST, REFUSED)
    await publish_all(journal)
    await take(journal, an_envelope(attempt=2))
    assert [u.exchanger for u in await journal.unfinished()] == [""]


async def test_what_is_unfinished_is_listed_without_bodies(journal: Journal) -> None:
    await take(journal, an_envelope(2), an_envelope(1, recipient="amy@one.test", expires_at_ms=5))
    await journal.intend(AttemptId(7, 2, 1), 0, "mx.test")
    first, second = await journal.unfinished()
    assert (first.attempt, first.state, first.recipient) == (FIRST, State.TAKEN, "amy@one.test")
    assert (first.expires_at_ms, second.expires_at_ms) == (5, FAR_MS)
    assert second.state is State.INTENT


async def test_an_unknown_attempt_is_not_in_hand(journal: Journal) -> None:
    assert not await journal.intend(FIRST, 0, "mx.test")
    await journal.finish(FIRST, DELIVERED)
    assert await journal.envelope(FIRST) is None
    assert await journal.unpublished(10) == []


async def test_pruning_forgets_only_what_is_published_and_old(journal: Journal) -> None:
    await take(journal, an_envelope(1, expires_at_ms=10), an_envelope(2, expires_at_ms=20))
    await take(journal, an_envelope(3, expires_at_ms=10), an_envelope(4, expires_at_ms=10))
    for seq in (1, 2):
        await journal.finish(AttemptId(7, seq, 1), DELIVERED)
    await publish_all(journal)
    await journal.finish(AttemptId(7, 3, 1), DELIVERED)
    assert await journal.prune(20) == 1
    assert await take(journal, an_envelope(1)) == [("taken", True)]
    assert await take(journal, an_envelope(2)) == [("taken", False)]
    assert len(await journal.unpublished(10)) == 1


async def test_replies_of_what_has_ended_are_forgotten_on_demand_and_the_rest_is_still_known(
    journal: Journal,
) -> None:
    await take(journal, an_envelope(1), an_envelope(2))
    await journal.finish(FIRST, REFUSED)
    await publish_all(journal)
    await journal.finish(AttemptId(7, 2, 1), REFUSED)
    names = [DeliveryId(7, seq) for seq in (1, 2, 3)]
    assert await journal.forget(names) == 1
    assert await journal.forget(names) == 0
    await take(journal, an_envelope(1, emission=2))  # asked for again: told again
    texts = {event.emitted.seq: event.text for event in await journal.unpublished(10)}
    assert texts == {1: "", 2: "no such user"}


async def test_many_calls_at_once(journal: Journal) -> None:
    async def one(seq: int) -> bool:
        attempt = AttemptId(7, seq, 1)
        (answer,) = await journal.take([an_envelope(seq)])
        intended = await journal.intend(attempt, 0, "mx.test")
        await journal.finish(attempt, DELIVERED)
        return answer.is_new and intended

    assert all(await asyncio.gather(*(one(seq) for seq in range(60))))
    assert len(await publish_all(journal)) == 60
    assert await journal.unfinished() == []
