"""What everything that looks at Deliveries keeps to, in memory and in PostgreSQL, however short its looks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from kannon.adapters.postgres.connection import Connection, Database
from kannon.adapters.postgres.delivery_queries import PostgresDeliveryQueries
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.errors import LedgerUnavailable
from kannon.ports import OUTCOMES_SHOWN, DeliveryFilter, DeliveryQueries, DeliveryRecord, StatsRow
from tests.fakes_deliveries import AcceptedBatch, FakeDeliveryQueries

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OURS, THEIRS = "example.com", "example.net"
ADA = "ada@example.org"


def outcome(record: DeliveryRecord, kind: str, minutes: float, **data: object) -> StatsRow:
    domain = record.message_id.partition("@")[2]
    return StatsRow(record.message_id, domain, record.email, NOON + minutes * MINUTE, kind, data)


def batch(number: int, *emails: str, domain: str = OURS, minutes: float = 0) -> AcceptedBatch:
    """A Batch that was accepted so many minutes after noon, in which nothing happened so far."""
    name = f"msg_{number}@{domain}"
    records = [
        DeliveryRecord(
            DeliveryId(number, seq), name, email, Status.ACCEPTED, 0, NOON, NOON + timedelta(days=1), ()
        )
        for seq, email in enumerate(emails)
    ]
    return AcceptedBatch(number, name, domain, NOON + minutes * MINUTE, records)


def many(count: int) -> list[str]:
    return [f"reader{number}@example.org" for number in range(count)]


@dataclass
class Subject:
    """Queries, and a way to put in what they look at."""

    queries: DeliveryQueries
    put: Callable[..., Awaitable[None]]

    async def walk(self, wanted: DeliveryFilter, take: int = 100) -> list[DeliveryRecord]:
        """All pages, one behind the other."""
        found: list[DeliveryRecord] = []
        start: DeliveryId | None = None
        for _ in range(1000):
            page = await self.queries.page(wanted, start, take)
            assert len(page.deliveries) <= take
            found.extend(page.deliveries)
            start = page.next
            if start is None:
                return found
        raise AssertionError("the pages do not end")


def fake_subject() -> Subject:
    queries = FakeDeliveryQueries()

    async def put(*batches: AcceptedBatch) -> None:
        queries.batches.extend(batches)

    return Subject(queries, put)


BATCH = """
INSERT INTO messages (number, message_id, domain, sender_email, sender_alias, subject, template_id, body,
                      recipients, scheduled_at, created_at, cancelled_at) OVERRIDING SYSTEM VALUE
SELECT %s, %s, %s, '', '', '', '', min(number), %s, %s, %s, %s FROM bodies
"""
DELIVERY = """
INSERT INTO deliveries (batch, seq, email, status, attempts, due_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
OUTCOME = "INSERT INTO stats VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"


async def insert(connection: Connection, one: AcceptedBatch) -> None:
    size = len(one.deliveries)
    cancelled_at = next((d.cancelled_at for d in one.deliveries if d.cancelled_at), None)
    names = (one.number, one.message_id, one.domain)
    await connection.execute(BATCH, (*names, size, NOON, one.accepted_at, cancelled_at))
    for d in one.deliveries:
        name = (d.id.batch, d.id.seq)
        await connection.execute(
            DELIVERY, (*name, d.email, d.status.value, d.attempts, d.due_at, d.expires_at)
        )
        for attempt, row in enumerate(d.outcomes):
            what = (row.type, attempt, row.at, row.message_id, row.domain, row.email, Jsonb(row.data))
            await connection.execute(OUTCOME, (*name, *what))


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    async with database.transaction() as connection:
        for domain in (OURS, THEIRS):
            await connection.execute("INSERT INTO domains VALUES (%s, '', '')", (domain,))
        await connection.execute("INSERT INTO bodies (domain, html, text) VALUES (%s, '', '')", (OURS,))
    yield database
    await database.close()


@pytest.fixture(params=["fake", "postgres", "short looks"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return fake_subject()
    database: Database = request.getfixturevalue("database")

    async def put(*batches: AcceptedBatch) -> None:
        async with database.transaction() as connection:
            for one in batches:
                await insert(connection, one)

    if request.param == "postgres":
        return Subject(PostgresDeliveryQueries(database), put)
    return Subject(PostgresDeliveryQueries(database, deliveries_at_once=3, batches_at_once=2), put)


async def test_a_batch_is_known_to_its_domain_alone(subject: Subject) -> None:
    await subject.put(batch(7, ADA))
    assert await subject.queries.batch(OURS, "msg_7@example.com") == 7
    assert await subject.queries.batch(THEIRS, "msg_7@example.com") is None
    assert await subject.queries.batch(OURS, "msg_8@example.com") is None


async def test_a_delivery_comes_with_all_that_became_of_it_oldest_first(subject: Subject) -> None:
    waits, ended = batch(7, ADA, "bob@example.org").deliveries
    waits = replace(waits, status=Status.SCHEDULED, attempts=1, due_at=NOON + MINUTE)
    waits = replace(waits, outcomes=(outcome(waits, "accepted", 0), outcome(waits, "error", 1, code=451)))
    ended = replace(
        ended, status=Status.BOUNCED, outcomes=(outcome(ended, "bounced", 2, msg="no such user"),)
    )
    await subject.put(replace(batch(7), deliveries=[waits, ended]), batch(8, ADA))
    assert await subject.walk(DeliveryFilter(OURS, 7)) == [waits, ended]


async def test_a_cancelled_delivery_comes_with_when_its_batch_was(subject: Subject) -> None:
    cancelled, ended = batch(7, ADA, "bob@example.org").deliveries
    cancelled = replace(cancelled, status=Status.CANCELLED, cancelled_at=NOON + MINUTE)
    ended = replace(ended, status=Status.DELIVERED)
    await subject.put(replace(batch(7), deliveries=[cancelled, ended]))
    assert await subject.walk(DeliveryFilter(OURS, 7)) == [cancelled, ended]


async def test_of_many_outcomes_the_last_ones_come(subject: Subject) -> None:
    (record,) = batch(7, ADA).deliveries
    outcomes = tuple(outcome(record, "error", minutes) for minutes in range(OUTCOMES_SHOWN + 3))
    await subject.put(replace(batch(7), deliveries=[replace(record, outcomes=outcomes)]))
    (found,) = await subject.walk(DeliveryFilter(OURS, 7))
    assert found.outcomes == outcomes[3:]


@pytest.mark.parametrize("take", [1, 2, 3, 5, 19, 20, 100])
async def test_pages_of_any_size_make_up_the_whole(subject: Subject, take: int) -> None:
    whole = batch(7, *many(20))
    await subject.put(batch(6, *many(5)), whole, batch(8, *many(5)))
    assert await subject.walk(DeliveryFilter(OURS, 7), take) == whole.deliveries


@pytest.mark.parametrize("take", [1, 2, 100])
async def test_an_address_is_found_in_all_batches_newest_first(subject: Subject, take: int) -> None:
    old = batch(9, ADA, *many(4), minutes=1)
    new = batch(8, *many(7), ADA, minutes=2)
    last = batch(
        12, *many(1), ADA, *many(9)[1:], minutes=2
    )  # at the same moment: the later number is the newer
    none = [batch(number, *many(2), minutes=number) for number in range(20, 26)]
    await subject.put(new, *none, old, last, batch(30, minutes=60))
    found = await subject.walk(DeliveryFilter(OURS, None, ADA), take)
    assert [record.id for record in found] == [DeliveryId(12, 1), DeliveryId(8, 7), DeliveryId(9, 0)]


async def test_older_batches_are_left_out_where_that_is_asked_for(subject: Subject) -> None:
    await subject.put(*(batch(number, ADA, minutes=number) for number in range(1, 6)))
    found = await subject.walk(DeliveryFilter(OURS, None, ADA, since=NOON + 3 * MINUTE))
    assert [record.id.batch for record in found] == [5, 4, 3]


async def test_tenants_see_nothing_of_one_another(subject: Subject) -> None:
    await subject.put(batch(1, ADA), batch(2, ADA, domain=THEIRS))
    assert [r.id.batch for r in await subject.walk(DeliveryFilter(OURS, None, ADA))] == [1]
    for wanted in (DeliveryFilter(OURS, 2), DeliveryFilter(OURS, 2, ADA)):
        assert await subject.walk(wanted) == []
        assert await subject.queries.total(wanted) == 0
    foreign = await subject.queries.page(DeliveryFilter(OURS, None, ADA), DeliveryId(2, 0), 10)
    assert (list(foreign.deliveries), foreign.next) == ([], None)


async def test_only_those_that_match_come_and_count(subject: Subject) -> None:
    records: Sequence[DeliveryRecord] = batch(7, *many(9), ADA).deliveries
    records = [replace(r, status=Status.FAILED) if r.id.seq % 3 == 0 else r for r in records]
    await subject.put(replace(batch(7), deliveries=records))
    for wanted, seqs in (
        (DeliveryFilter(OURS, 7), list(range(10))),
        (DeliveryFilter(OURS, 7, status=Status.FAILED), [0, 3, 6, 9]),
        (DeliveryFilter(OURS, 7, status=Status.DELIVERED), []),
        (DeliveryFilter(OURS, 7, ADA), [9]),
        (DeliveryFilter(OURS, 7, ADA.upper()), []),
        (DeliveryFilter(OURS, 7, ADA, Status.FAILED), [9]),
        (DeliveryFilter(OURS, 7, ADA, Status.ACCEPTED), []),
    ):
        assert [record.id.seq for record in await subject.walk(wanted, 3)] == seqs
        assert await subject.queries.total(wanted) == len(seqs)


async def test_a_start_that_is_not_there_begins_nothing(subject: Subject) -> None:
    await subject.put(batch(7, ADA))
    for wanted, start in (
        (DeliveryFilter(OURS, 7), DeliveryId(7, 1)),
        (DeliveryFilter(OURS, 7), DeliveryId(7, 2**31 - 1)),
        (DeliveryFilter(OURS, None, ADA), DeliveryId(2**63 - 1, 0)),
    ):
        page = await subject.queries.page(wanted, start, 10)
        assert (list(page.deliveries), page.next) == ([], None)


async def test_away_is_said() -> None:
    queries = PostgresDeliveryQueries(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await queries.page(DeliveryFilter(OURS, 7), None, 10)
