"""What counts of a ledger agree with, in memory and in PostgreSQL: what its transactions find."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.diagnosis import PostgresLedgerLook
from kannon.core.deliveries import Status
from kannon.core.diagnosis import LedgerDiagnosis, LostStream, Pile
from kannon.core.errors import LedgerUnavailable
from kannon.core.retries import LONGEST_REPLY, MAX_EMISSIONS
from kannon.ports import LedgerLook, StreamState
from tests.contract.test_ledger_contract import CAP, RECIPIENTS, Subject, fake_subject, postgres_subject
from tests.fakes_ledger import FakeLedger, FakeLedgerLook
from tests.mail import NOW

MINUTE = timedelta(minutes=1)
LEASE = 15 * MINUTE


@dataclass
class Looked:
    """A ledger with one Batch of accepted Deliveries, and a look at it."""

    ledger: Subject
    look_at: LedgerLook

    async def look(self, now: datetime = NOW) -> LedgerDiagnosis:
        """Look, and compare with what the tick would take back."""
        found = await self.look_at.look(now)
        async with self.ledger.ledger.work() as work:
            assert found.stranded.count == len(await work.stranded(1000, now))
            assert bool(found.due.count) == await work.anything_due(now)
        return found


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database where one is needed, else nothing."""
    return request.getfixturevalue("migrated_database") if request.param == "in PostgreSQL" else ""


@pytest.fixture
async def looked(url: str) -> AsyncIterator[Looked]:
    if not url:
        subject = fake_subject()
        assert isinstance(subject.ledger, FakeLedger)
        yield Looked(subject, FakeLedgerLook(subject.ledger))
        return
    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        yield Looked(await postgres_subject(url, database), PostgresLedgerLook(database, CAP, LEASE))


async def test_what_has_no_verdict_is_counted(looked: Looked) -> None:
    found = await looked.look()
    assert found.unverified.count == RECIPIENTS
    assert (found.due, found.later, found.deferred, found.in_hand) == (Pile(),) * 4
    assert found.in_hand_limit == CAP


async def test_what_is_due_is_told_from_what_is_for_later(looked: Looked) -> None:
    await looked.ledger.put(0, Status.SCHEDULED, due_at=NOW - MINUTE)
    await looked.ledger.put(1, Status.SCHEDULED, due_at=NOW)
    await looked.ledger.put(2, Status.SCHEDULED, due_at=NOW + 5 * MINUTE)
    await looked.ledger.put(3, Status.SCHEDULED, due_at=NOW + 2 * MINUTE)
    found = await looked.look()
    assert found.due == Pile(2, oldest_at=NOW - MINUTE)
    assert found.later == Pile(2, next_at=NOW + 2 * MINUTE)
    assert found.deferred == Pile()


async def test_what_was_tried_before_is_deferred(looked: Looked) -> None:
    await looked.ledger.put(0, Status.SCHEDULED, due_at=NOW + 3 * MINUTE, attempts=1)
    await looked.ledger.put(1, Status.SCHEDULED, due_at=NOW + 4 * MINUTE, attempts=2)
    await looked.ledger.put(2, Status.SCHEDULED, due_at=NOW + 2 * MINUTE)
    await looked.ledger.put(3, Status.BOUNCED, attempts=3)
    found = await looked.look()
    assert found.deferred == Pile(2, next_at=NOW + 3 * MINUTE)
    assert found.later.count == 3


async def test_what_is_in_hand_is_stranded_at_the_end_of_its_lease(looked: Looked) -> None:
    await looked.ledger.put(0, Status.SENDING, emission=1)
    await looked.ledger.put(1, Status.SENDING, emission=1)
    found = await looked.look(NOW + MINUTE)
    assert found.in_hand == Pile(2, oldest_at=NOW, next_at=NOW + LEASE)
    assert (found.stranded.count, found.fruitless.count) == (0, 0)
    assert (await looked.look(NOW + LEASE + MINUTE)).stranded.count == 2


async def test_what_was_emitted_for_the_last_time_fails_next(looked: Looked) -> None:
    await looked.ledger.put(0, Status.SENDING, emission=MAX_EMISSIONS)
    await looked.ledger.put(1, Status.SENDING, emission=MAX_EMISSIONS - 1)
    found = await looked.look(NOW + MINUTE)
    assert found.fruitless.count == 1
    assert found.fruitless.next_at == NOW + timedelta(hours=24) + LONGEST_REPLY


# What only the real ledger holds.


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    yield database
    await database.close()


async def test_a_batch_that_was_not_announced(database: Database, migrated_database: str) -> None:
    await postgres_subject(migrated_database, database)
    found = await PostgresLedgerLook(database, CAP, LEASE).look(NOW)
    assert found.unannounced.count == 1
    assert found.unannounced_recipients == RECIPIENTS
    oldest, following = found.unannounced.oldest_at, found.unannounced.next_at
    assert oldest
    assert following
    assert found.unverified == Pile(RECIPIENTS, oldest_at=oldest)
    assert timedelta(0) < following - oldest < MINUTE


async def test_one_that_was_announced_is_announced_anew_at_the_end_of_a_lease(
    database: Database, migrated_database: str
) -> None:
    await postgres_subject(migrated_database, database)
    run(migrated_database, "UPDATE messages SET announced_seq = recipients, announced_at = %s", NOW)
    found = await PostgresLedgerLook(database, CAP, LEASE).look(NOW)
    assert (found.unannounced, found.unannounced_recipients) == (Pile(), 0)
    assert found.unverified.next_at == NOW + LEASE


async def test_what_a_lost_stream_held_is_stranded(database: Database, migrated_database: str) -> None:
    subject = await postgres_subject(migrated_database, database)
    looked = Looked(subject, PostgresLedgerLook(database, CAP, LEASE))
    ledger = subject.ledger
    await subject.put(0, Status.SENDING, emission=1, published_seq=9)
    await subject.put(1, Status.SENDING, emission=1, published_seq=3)
    assert (await looked.look()).ticked_at is None
    await ledger.notice([StreamState("KANNON_SEND", "a", 5)], NOW + MINUTE)  # type: ignore[attr-defined]
    found = await looked.look(NOW + MINUTE)
    assert (found.stranded.count, found.ticked_at, found.lost) == (1, NOW + MINUTE, ())
    await ledger.notice([StreamState("KANNON_SEND", "b", 0)], NOW + 2 * MINUTE)  # type: ignore[attr-defined]
    found = await looked.look(NOW + 2 * MINUTE)
    assert found.stranded.count == 2
    assert [one.name for one in found.lost] == ["KANNON_SEND"]
    assert isinstance(found.lost[0], LostStream)


async def test_what_the_outbox_holds_and_that_counting_stops(
    database: Database, migrated_database: str
) -> None:
    run(
        migrated_database,
        "INSERT INTO outbox (outcome, facts) SELECT 'delivered', '[]' FROM generate_series(1, %s)",
        5,
    )
    assert (await PostgresLedgerLook(database, CAP, LEASE).look(NOW)).outbox == Pile(5)
    short = PostgresLedgerLook(database, CAP, LEASE, limit=3)
    assert (await short.look(NOW)).outbox == Pile(3, is_more=True)


async def test_when_it_is_away_it_says_so(database: Database) -> None:
    await database.close()
    with pytest.raises(LedgerUnavailable):
        await PostgresLedgerLook(database, CAP, LEASE).look(NOW)


def run(url: str, text: str, *values: object) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(text, values)
