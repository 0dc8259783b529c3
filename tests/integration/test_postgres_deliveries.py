"""Deliveries are looked at by indexes, however large the tables and whatever PostgreSQL knows of them."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.delivery_queries import SQL, PostgresDeliveryQueries
from kannon.adapters.postgres.migrate import migrate
from kannon.core.deliveries import DeliveryId
from kannon.ports import DeliveryFilter

LARGE, SMALL = 40_000, 3000
FILL = """
INSERT INTO domains VALUES ('a.test', '', ''), ('b.test', '', '');
INSERT INTO bodies (domain, html, text) VALUES ('a.test', '', '');
INSERT INTO messages (number, message_id, domain, sender_email, sender_alias, subject, template_id, body,
                      recipients, scheduled_at, created_at) OVERRIDING SYSTEM VALUE
SELECT n, 'msg_' || n, CASE n % 4 WHEN 0 THEN 'b.test' ELSE 'a.test' END, '', '', '', '', 1,
       CASE n WHEN 1 THEN {large} ELSE 1 END, now(), now() - n * interval '1 minute'
FROM generate_series(1, {small}) AS n;
INSERT INTO deliveries (batch, seq, email, due_at, expires_at, status)
SELECT number, seq, 'r' || (number * 7 + seq) || '@example.org', now(), now(),
       CASE seq % 1000 WHEN 7 THEN 'scheduled' ELSE 'delivered' END
FROM messages, generate_series(0, recipients - 1) AS seq;
INSERT INTO stats SELECT batch, seq, 'delivered', 1, now(), '', 'a.test', email FROM deliveries;
"""
QUERY = {
    "domain": "a.test",
    "message_id": "msg_1",
    "batch": 1,
    "email": None,
    "status": None,
    "since": "-infinity",
    "start": None,
    "limit": 101,
    "batches": [1, *range(5, 100)],
    "firsts": [0] * 96,
    "ends": [LARGE, *[1] * 95],
    "seqs": [0] * 96,
    "each": 50,
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
        connection.execute(FILL.format(large=LARGE, small=SMALL))
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize(
    ("query", "otherwise"),
    [
        ("batch", {}),
        ("extent", {}),
        ("extents", {}),
        ("extents", {"start": 40, "since": "2020-01-01"}),
        ("page", {}),
        ("page", {"email": "r70@example.org"}),
        ("page", {"status": "bounced"}),
        ("page", {"status": "scheduled", "email": "r70@example.org"}),
        ("outcomes", {}),
        ("total", {}),
        ("total", {"status": "scheduled"}),
    ],
)
def test_no_table_is_read_from_end_to_end(
    large_database: str, query: str, otherwise: dict[str, Any], analysed: bool
) -> None:
    with psycopg.connect(large_database) as connection:
        if analysed:
            connection.execute("ANALYZE messages, deliveries, stats")
        connection.execute(SQL["reach_rows_by_index"])
        for plan in ("force_custom_plan", "force_generic_plan"):
            connection.execute(f"SET LOCAL plan_cache_mode = {plan}")
            explained = connection.execute("EXPLAIN " + SQL[query], QUERY | otherwise, prepare=True)
            text = "\n".join(line for (line,) in explained)
            assert "Index" in text
            assert "Seq Scan" not in text, f"{plan}: {text}"
        connection.rollback()


async def test_an_address_is_looked_for_in_bounded_looks(large_database: str) -> None:
    database = Database(large_database)
    await database.open()
    queries = PostgresDeliveryQueries(database, deliveries_at_once=10_000, batches_at_once=1000)
    found: list[DeliveryId] = []
    start, looks = None, 0
    while looks == 0 or start:
        page = await queries.page(DeliveryFilter("a.test", None, "r20006@example.org"), start, 10)
        found.extend(one.id for one in page.deliveries)
        start, looks = page.next, looks + 1
    await database.close()
    assert found == [DeliveryId(1, 19_999), DeliveryId(2858, 0)]
    assert looks >= LARGE // 10_000 + SMALL * 3 // 4 // 1000
