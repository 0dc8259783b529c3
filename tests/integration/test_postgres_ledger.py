"""What only the real PostgreSQL can show: counting, the outbox, recovery, locks, restarts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database, LedgerRefuses
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.migrate import MigrationError, migrate
from kannon.adapters.postgres.outbox import PostgresOutbox
from kannon.core.deliveries import Status
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import Act, AnyPayload, Engagement, Outcomes
from kannon.core.tracking.policy import Mode
from kannon.ports import StreamState
from tests.contract.test_ledger_contract import KEY, Subject, move, outcome, postgres_subject
from tests.fakes import FakePublisher
from tests.mail import DOMAIN, NOW

LATER = NOW + timedelta(days=3650)
"""A time after all that PostgreSQL dates by its own clock."""
COUNTED = "SELECT domain, hour, measure, sum(count) FROM rollup_deltas GROUP BY 1, 2, 3"


class Real(Subject):
    """The contract's subject, with its database."""

    database: Database
    url: str
    ledger: PostgresLedger

    def rows(self, text: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(text).fetchall()


@pytest.fixture
async def real(migrated_database: str) -> AsyncIterator[Real]:
    async with AsyncExitStack() as stack:
        database = Database(migrated_database)
        await database.open()
        stack.push_async_callback(database.close)
        subject = await postgres_subject(migrated_database, database)
        real = Real(subject.ledger, subject.batch, subject.read, subject.outcomes, subject.suppressed)
        real.database, real.url = database, migrated_database
        yield real


async def record(real: Real, *seqs: int, kind: str = "delivered") -> None:
    async with real.ledger.work() as work:
        rows = await work.lock([real.name(seq) for seq in seqs])
        await work.record([outcome(row, kind) for row in rows])


async def test_only_new_outcomes_are_counted_by_the_hour(real: Real) -> None:
    await record(real, 0, 1)
    await record(real, 1, 2)
    assert real.rows(COUNTED) == [(DOMAIN, NOW, "delivered", 3)]


async def test_the_counts_are_right_when_many_write_at_once(real: Real) -> None:
    async def write(seq: int) -> None:
        for _ in range(5):
            await record(real, seq, (seq + 1) % 4)

    await asyncio.gather(*(write(seq) for seq in range(4)))
    assert real.rows(COUNTED) == [(DOMAIN, NOW, "delivered", 4)]
    assert real.rows("SELECT count(*) FROM stats") == [(4,)]


async def test_committed_outcomes_are_published_from_the_outbox_once(real: Real) -> None:
    publisher = FakePublisher()
    outbox = PostgresOutbox(real.database, publisher)
    await record(real, 0, 1)
    await record(real, 2, kind="error")
    assert await outbox.drain() == 2
    assert await outbox.drain() == 0
    first, second = publisher.payloads
    assert isinstance(first, Outcomes)
    assert isinstance(second, Outcomes)
    assert (first.outcome, [fact.delivery for fact in first.facts]) == (
        "delivered",
        [f"{real.batch}.0", f"{real.batch}.1"],
    )
    assert (second.outcome, second.facts[0].data) == ("deferred", {"code": 250})


async def test_what_is_published_carries_the_trace_of_its_call(real: Real) -> None:
    publisher = FakePublisher()
    with psycopg.connect(real.url) as connection:
        connection.execute("UPDATE messages SET traceparent = '00-a-b-01'")
    await record(real, 0)
    async with real.ledger.work() as work:
        opened = Engagement("e1", Act.OPENED, Mode.IDENTIFIED, DOMAIN, real.batch, NOW, seq=0)
        await work.record_engagements([opened], NOW)
    assert await PostgresOutbox(real.database, publisher).drain() == 2
    traced = [
        fact.traceparent for one in publisher.payloads if isinstance(one, Outcomes) for fact in one.facts
    ]
    assert traced == ["00-a-b-01", "00-a-b-01"]


async def test_what_could_not_be_published_stays_in_the_outbox(real: Real) -> None:
    publisher = FakePublisher()
    outbox = PostgresOutbox(real.database, publisher)
    await record(real, 0)
    publisher.away = True
    outbox.nudge()
    await outbox.close()
    assert real.rows("SELECT count(*) FROM outbox") == [(1,)]
    publisher.away = False
    outbox.nudge()
    await outbox.close()
    assert real.rows("SELECT count(*) FROM outbox") == [(0,)]


async def test_two_claims_at_once_take_different_deliveries(real: Real) -> None:
    for seq in range(4):
        await real.put(seq, Status.SCHEDULED)
    async with real.ledger.work() as one, real.ledger.work() as other:
        first = {row.id.seq for row in await one.claim(2, NOW)}
        second = {row.id.seq for row in await other.claim(10, NOW)}
    assert first | second == {0, 1, 2, 3}
    assert not first & second


def insert_scheduled(real: Real, domain: str, recipients: int) -> int:
    """Another Batch, whose Deliveries are all due."""
    with psycopg.connect(real.url) as connection:
        connection.execute(
            "INSERT INTO domains (name, dkim_private_key, dkim_public_key) VALUES (%s, '', '') "
            "ON CONFLICT DO NOTHING",
            (domain,),
        )
        row = connection.execute(
            "INSERT INTO messages (message_id, domain, sender_email, sender_alias, subject, template_id, "
            "body, recipients, scheduled_at) "
            "SELECT gen_random_uuid(), %s, '', '', '', template_id, body, %s, %s FROM templates LIMIT 1 "
            "RETURNING number",
            (domain, recipients, NOW),
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO deliveries (batch, seq, status, email, due_at, expires_at) "
            "SELECT %s, seq, 'scheduled', seq || '@example.org', %s, %s FROM generate_series(0, %s) AS seq",
            (row[0], NOW, NOW + timedelta(hours=24), recipients - 1),
        )
    return int(row[0])


async def claimed(real: Real, limit: int) -> Counter[int]:
    """How many Deliveries of each Batch the next claim takes; they are then in hand."""
    async with real.ledger.work() as work:
        rows = await work.claim(limit, NOW)
        await work.move([move(row, Status.SENDING, emission=1) for row in rows], NOW)
    return Counter(row.id.batch for row in rows)


async def test_a_small_batch_is_not_behind_a_huge_one_and_a_tenant_not_behind_another(real: Real) -> None:
    huge = insert_scheduled(real, "a.example.com", 1000)
    also = insert_scheduled(real, "a.example.com", 1000)
    small = insert_scheduled(real, "b.example.com", 30)
    assert await claimed(real, 100) == {huge: 45, also: 25, small: 30}
    assert await claimed(real, 100) == {huge: 50, also: 50}


async def test_however_small_a_claim_is_every_batch_gets_its_turn(real: Real) -> None:
    batches = [insert_scheduled(real, "a.example.com", 10) for _ in range(5)]
    first = [await claimed(real, 1) for _ in range(5)]
    assert sum(first, Counter()) == dict.fromkeys(batches, 1)


async def test_more_batches_than_one_claim_visits_are_all_worked_off(real: Real) -> None:
    batches = [insert_scheduled(real, "a.example.com", 2) for _ in range(70)]
    total: Counter[int] = Counter()
    while taken := await claimed(real, 50):
        total += taken
    assert total == dict.fromkeys(batches, 2)


async def test_a_batch_that_nobody_announced_is_found_in_chunks_and_once(real: Real) -> None:
    (chunk,) = await real.ledger.unannounced(10, LATER)
    assert (chunk.batch, chunk.announcement) == (real.batch, 1)
    assert [candidate.seq for candidate in chunk.recipients] == [0, 1, 2, 3]
    await real.ledger.announced(chunk, LATER)
    assert not await real.ledger.unannounced(10, LATER)


async def test_the_gateway_has_a_moment_to_announce_by_itself(real: Real) -> None:
    (created_at,) = real.rows("SELECT created_at FROM messages")[0]
    assert not await real.ledger.unannounced(10, created_at + timedelta(seconds=2))


async def test_an_announcement_without_result_for_a_lease_is_made_again(real: Real) -> None:
    (chunk,) = await real.ledger.unannounced(10, LATER)
    await real.ledger.announced(chunk, LATER)
    await real.put(0, Status.SENDING, emission=1)
    (again,) = await real.ledger.unannounced(10, LATER + timedelta(minutes=16))
    assert again.announcement == 2, "a deliberate repeat is another event"
    assert [candidate.seq for candidate in again.recipients] == [1, 2, 3]


async def test_an_announcement_in_a_stream_that_was_lost_is_made_again_at_once(real: Real) -> None:
    await real.ledger.notice([StreamState("KANNON_VERIFY", "first", 5)], LATER)
    (chunk,) = await real.ledger.unannounced(10, LATER)
    real.rows("SELECT 1")
    await real.ledger.announced(chunk, NOW)  # long before the loss
    assert not await _unannounced_now(real)
    await real.ledger.notice([StreamState("KANNON_VERIFY", "second", 0)], LATER)
    (again,) = await _unannounced_now(real)
    assert again.announcement == 2


async def _unannounced_now(real: Real) -> list[Any]:
    # The lease is as long as the test's time is old, so that only a lost stream can bring it back.
    patient = PostgresLedger(real.database, KEY, lease=timedelta(days=36500))
    return list(await patient.unannounced(10, LATER))


async def test_what_was_published_after_one_looked_is_not_stranded(real: Real) -> None:
    ledger = PostgresLedger(real.database, KEY, lease=timedelta(days=36500))
    await ledger.notice([StreamState("KANNON_SEND", "first", 10)], NOW)
    await real.put(0, Status.SENDING, emission=1, published_seq=11)
    async with ledger.work() as work:
        assert not await work.stranded(10, LATER)


async def test_what_is_published_while_one_looks_is_not_stranded(real: Real) -> None:
    # Its transaction began before the stream was looked at, and it was published after that.
    ledger = PostgresLedger(real.database, KEY, lease=timedelta(days=36500))
    await real.put(0, Status.SENDING, emission=1, published_seq=11)
    async with ledger.work() as work:
        (sending,) = await work.lock([real.name(0)])
    assert sending.first_emitted_at is not None
    for seconds, stranded in ((1, 0), (14, 0), (16, 1)):
        seen_at = sending.first_emitted_at + timedelta(seconds=seconds)
        await ledger.notice([StreamState("KANNON_SEND", "first", 10)], seen_at)
        async with ledger.work() as work:
            assert len(await work.stranded(10, seen_at)) == stranded, f"seen after {seconds} s"


async def test_room_that_was_freed_is_found_at_once(real: Real) -> None:
    for seq in range(3):
        await real.put(seq, Status.SENDING, emission=1)
    async with real.ledger.work() as work:
        assert await work.room() == 0
    with psycopg.connect(real.url) as connection:
        connection.execute("UPDATE deliveries SET status = 'delivered' WHERE seq < 2")
    async with real.ledger.work() as work:
        assert await work.room() == 2


@pytest.mark.parametrize(
    "loss",
    [StreamState("KANNON_SEND", "again", 0), StreamState("KANNON_SEND", "first", 3)],
    ids=["the stream was made anew", "the stream went back to an older copy"],
)
async def test_envelopes_in_a_stream_that_was_lost_are_stranded_at_once(
    real: Real, loss: StreamState
) -> None:
    ledger = PostgresLedger(real.database, KEY, lease=timedelta(days=36500))
    await ledger.notice([StreamState("KANNON_SEND", "first", 10)], LATER)
    await real.put(0, Status.SENDING, emission=1, published_seq=2)
    async with ledger.work() as work:
        assert not await work.stranded(10, LATER)
    await ledger.notice([StreamState("KANNON_SEND", "first", 11)], LATER)
    async with ledger.work() as work:
        assert not await work.stranded(10, LATER), "a stream that only grew has lost nothing"
    await ledger.notice([loss], LATER)
    async with ledger.work() as work:
        assert [row.id.seq for row in await work.stranded(10, LATER)] == [0]


async def test_an_envelope_at_a_sequence_that_the_stream_does_not_know_is_stranded(real: Real) -> None:
    ledger = PostgresLedger(real.database, KEY, lease=timedelta(days=36500))
    await ledger.notice([StreamState("KANNON_SEND", "first", 10)], LATER)
    await real.put(0, Status.SENDING, emission=1, published_seq=11)
    async with ledger.work() as work:
        assert [row.id.seq for row in await work.stranded(10, LATER)] == [0]


async def test_a_domain_key_is_useless_under_another_secret(real: Real) -> None:
    from kannon.core.keys import SealBroken

    foreign = PostgresLedger(real.database, b"x" * 32)
    with pytest.raises(SealBroken):
        async with foreign.work() as work:
            await work.batch(real.batch)


async def test_a_connection_that_was_cut_is_the_ledger_being_away_and_then_back(real: Real) -> None:
    with pytest.raises(LedgerUnavailable):  # noqa: PT012 - the transaction is what is tested
        async with real.ledger.work() as work:
            await work.lock([real.name(0)])
            real.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await work.lock([real.name(1)])
    async with real.ledger.work() as work:
        assert len(await work.lock([real.name(0)])) == 1


async def test_a_database_that_is_not_there_is_waited_for_and_then_named() -> None:
    database = Database("postgresql://nobody:hunter2@127.0.0.1:1/none")
    with pytest.raises(LedgerUnavailable, match="K_DATABASE_URL") as error:
        await database.open(give_up_after=0.1)
    assert "hunter2" not in str(error.value)


def test_migrating_twice_applies_once(fresh_database: str) -> None:
    first, second = migrate(fresh_database), migrate(fresh_database)
    assert first.applied
    assert (second.applied, second.already) == ((), len(first.applied))


def test_a_migration_that_was_not_noted_in_a_crash_is_harmless_to_repeat(fresh_database: str) -> None:
    migrate(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        connection.execute("DELETE FROM _yoyo_migration")
    assert migrate(fresh_database).applied


def test_every_table_and_column_of_ours_has_a_comment(fresh_database: str) -> None:
    migrate(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        bare = connection.execute(
            """SELECT c.relname, a.attname FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
              AND c.relname NOT LIKE '%yoyo%' AND col_description(c.oid, a.attnum) IS NULL
            UNION ALL SELECT relname, '' FROM pg_class
            WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
              AND relname NOT LIKE '%yoyo%' AND obj_description(oid) IS NULL"""
        ).fetchall()
    assert bare == []


def test_a_database_url_of_another_kind_is_refused() -> None:
    with pytest.raises(MigrationError, match="postgresql://"):
        migrate("mysql://x/y")


async def test_a_delivery_keeps_its_place_when_it_is_moved_without_an_edge(real: Real) -> None:
    await real.put(0, Status.SENDING, emission=1, edge="edge-1", published_seq=5)
    async with real.ledger.work() as work:
        (row,) = await work.lock([real.name(0)])
        await work.move([replace(move(row, Status.DELIVERED), emission=0)], NOW)
    assert real.rows("SELECT edge, published_seq FROM deliveries WHERE seq = 0") == [("edge-1", 5)]


@pytest.mark.parametrize(
    ("user", "password", "name", "named"),
    [
        ("kannon", "wrong-one", "kannon", "refuses the user or the password"),
        ("kannon", None, "no_such_database", "does not exist"),
    ],
)
async def test_who_is_not_let_in_is_told_at_once(
    user: str, password: str | None, name: str, named: str, postgres_url: str
) -> None:
    known, _, place = postgres_url.removeprefix("postgresql://").rpartition("@")
    address = place.partition("/")[0]
    url = f"postgresql://{user}:{password or known.partition(':')[2]}@{address}/{name}"
    with pytest.raises(LedgerRefuses, match=named) as error:
        await Database(url).open(give_up_after=60)
    assert "wrong-one" not in str(error.value)
    with pytest.raises(LedgerRefuses, match=named):
        migrate(url)


async def test_rows_are_reached_by_index_though_their_table_was_small_when_the_plan_was_made(
    real: Real,
) -> None:
    async def work_on(seq: int) -> None:
        async with real.ledger.work() as work:
            rows = await work.lock([real.name(seq)])
            await work.move([move(row, Status.SCHEDULED) for row in rows], NOW)

    for _ in range(8):  # from its fifth time on a prepared statement may keep its plan
        await work_on(0)
    with psycopg.connect(real.url) as connection:
        connection.execute(
            "INSERT INTO deliveries (batch, seq, email, due_at, expires_at)"
            " SELECT batch, n, email, due_at, expires_at FROM deliveries, generate_series(100, 5000) AS n"
            " WHERE batch = %s AND seq = 0",
            [real.name(0).batch],
        )
    read = "SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'deliveries'"
    with psycopg.connect(real.url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        before = real.rows(read)
    for seq in range(100, 110):
        await work_on(seq)
    async with real.database.statement() as used:
        await used.execute("SELECT pg_stat_force_next_flush()")
    assert real.rows(read) == before


async def test_several_nudges_publish_in_one_transaction(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kannon.adapters.postgres.outbox.LINGER", 0.5)
    transactions: set[Any] = set()

    class Watching(FakePublisher):
        async def publish(self, payload: AnyPayload, traceparent: str = "") -> int:
            transactions.update(
                real.rows(
                    "SELECT virtualtransaction FROM pg_locks"
                    " WHERE relation = 'outbox'::regclass AND pid <> pg_backend_pid()"
                )
            )
            return await super().publish(payload, traceparent)

    outbox = PostgresOutbox(real.database, Watching())
    for seq in (0, 1):
        await record(real, seq)
        outbox.nudge()
    await outbox.close()
    assert real.rows("SELECT count(*) FROM outbox") == [(0,)]
    assert len(transactions) == 1
