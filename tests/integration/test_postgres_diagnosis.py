"""What waits is counted by indexes of what is live, however large the ledger."""

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.diagnosis import PILES, SQL, PostgresLedgerLook
from kannon.adapters.postgres.ledger import PUBLISHING
from kannon.adapters.postgres.migrate import migrate
from kannon.core.diagnosis import Pile
from kannon.core.retries import LEAST_TIME_TO_TRY, LONGEST_REPLY, MAX_EMISSIONS
from kannon.runtime.clock import utc_now

LARGE = 60_000
LEASE = timedelta(minutes=15)
FILL = """
INSERT INTO domains VALUES ('a.test', '', '');
INSERT INTO bodies (domain, html, text) VALUES ('a.test', '', '');
INSERT INTO messages (number, message_id, domain, sender_email, sender_alias, subject, template_id, body,
                      recipients, scheduled_at, announced_seq) OVERRIDING SYSTEM VALUE
SELECT n, 'msg_' || n, 'a.test', '', '', '', '', 1, CASE n WHEN 1 THEN {large} ELSE 1 END, now(),
       CASE n % 100 WHEN 7 THEN 0 WHEN 1 THEN {large} ELSE 1 END
FROM generate_series(1, 1000) AS n;
INSERT INTO deliveries (batch, seq, email, due_at, expires_at, status, attempts, emission, emitted_at)
SELECT 1, seq, 'r' || seq || '@example.org', now() + (seq - {large} / 2) * interval '1 second', now(),
       CASE seq % 400 WHEN 7 THEN 'scheduled' WHEN 8 THEN 'sending' WHEN 9 THEN 'accepted'
                      WHEN 10 THEN 'scheduled' ELSE 'delivered' END,
       CASE seq % 400 WHEN 10 THEN 1 ELSE 0 END, 1, now() - interval '1 minute'
FROM generate_series(0, {large} - 1) AS seq;
"""
QUERY = {
    "now": utc_now(),
    "lease": LEASE,
    "publishing": PUBLISHING,
    "limit": 100_000,
    "after_dispatch": ["KANNON_SEND", "KANNON_STATS"],
    "envelopes": "KANNON_SEND",
    "emissions": MAX_EMISSIONS,
    "least_time": LEAST_TIME_TO_TRY,
    "longest_reply": LONGEST_REPLY,
}


@pytest.fixture(scope="module")
def large_database(postgres_url: str) -> Iterator[str]:
    name = f"large_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = f"{postgres_url.rpartition('/')[0]}/{name}"
    migrate(url)
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute(FILL.format(large=LARGE))
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("query", ["unannounced", *PILES])
def test_nothing_but_what_is_live_is_read(large_database: str, query: str, analysed: bool) -> None:
    with psycopg.connect(large_database) as connection:
        if analysed:
            connection.execute("ANALYZE messages, deliveries, outbox")
        connection.execute(SQL["reach_rows_by_index"])
        wanted = {name: value for name, value in QUERY.items() if f"%({name})s" in SQL[query]}
        for plan in ("force_custom_plan", "force_generic_plan"):
            connection.execute(f"SET LOCAL plan_cache_mode = {plan}")
            explained = connection.execute("EXPLAIN " + SQL[query], wanted, prepare=True)
            text = "\n".join(line for (line,) in explained)
            assert any(index in text for index in INDEXES[query]), f"{plan}: {text}"
            assert "Seq Scan on deliveries" not in text, f"{plan}: {text}"
            assert "Seq Scan on messages" not in text, f"{plan}: {text}"
        connection.rollback()


INDEXES = {
    "unannounced": ["messages_unannounced"],
    "unverified": ["deliveries_unverified"],
    "due": ["deliveries_due"],
    "later": ["deliveries_due"],
    "deferred": ["deliveries_deferred"],
    "in_hand": ["deliveries_in_hand"],
    "stranded": ["deliveries_in_hand"],
    "fruitless": ["deliveries_in_hand"],
    "outbox": ["outbox_pkey"],
}


async def test_a_look_at_a_large_ledger_is_right_and_soon_done(large_database: str) -> None:
    database = Database(large_database)
    await database.open()
    look = PostgresLedgerLook(database, 20_000, LEASE)
    await look.look(utc_now())
    began = time.perf_counter()
    found = await look.look(utc_now())
    seconds = time.perf_counter() - began
    await database.close()
    each = LARGE // 400
    assert (found.unverified.count, found.in_hand.count, found.deferred.count) == (each,) * 3
    assert found.due.count + found.later.count == 2 * each
    assert (found.unannounced.count, found.unannounced_recipients) == (10, 10)
    assert (found.stranded, found.outbox) == (Pile(), Pile())
    assert seconds < 2, "some 10 ms are enough"
