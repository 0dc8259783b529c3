"""What every intake keeps to, the one in memory and the one in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.adapters.postgres.intake import FEW, PostgresIntake
from kannon.core.batches import NewBatch, NewRecipient
from kannon.core.errors import LedgerUnavailable
from kannon.ports import Intake
from tests.fakes_gateway import FakeIntake

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
BATCH = NewBatch(
    message_id="msg_1@example.com",
    domain="example.com",
    sender_email="news@example.com",
    sender_alias="Äpfel & Birnen",
    subject="Hello {{ name }}",
    template_id="1@example.com",
    template_html="<p>Hello {{ name }}</p>",
    global_fields={"city": 'Rome "caput\\mundi"'},
    scheduled_at=NOW,
    expires_at=NOW + timedelta(days=1),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    recipients=(NewRecipient("ada@example.org", {"name": "Ada"}), NewRecipient("bob@example.org", {})),
)
STRANGE = ["\\N", "\t\n\r\\", "{}", '"', "NULL", "ключ", "\u2028", "\x7f", "😀", "\\x00", ""]


@dataclass
class Subject:
    """An intake, and a look at what it took."""

    intake: Intake
    recipients: Callable[[int], Awaitable[list[NewRecipient]]]


def fake_subject() -> Subject:
    intake = FakeIntake()

    async def recipients(number: int) -> list[NewRecipient]:
        return list(intake.batches[number - 1].recipients)

    return Subject(intake, recipients)


@pytest.fixture
async def postgres_subject(migrated_database: str) -> AsyncIterator[Subject]:
    database = Database(migrated_database)
    await database.open()
    await PostgresDirectory(database, b"d" * 32).add_domain("example.com", b"key", "public")

    async def recipients(number: int) -> list[NewRecipient]:
        found = rows(migrated_database, f"SELECT * FROM deliveries WHERE batch = {number} ORDER BY seq")
        assert [row["seq"] for row in found] == list(range(len(found)))
        return [NewRecipient(row["email"], row["fields"] or {}) for row in found]

    yield Subject(PostgresIntake(database), recipients)
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return fake_subject()
    found: Subject = request.getfixturevalue("postgres_subject")
    return found


def rows(url: str, text: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(text).fetchall()


def batch_of(recipients: int, name: str = "2") -> NewBatch:
    made = tuple(NewRecipient(f"r{i}@example.org", {"n": str(i)} if i % 2 else {}) for i in range(recipients))
    return replace(
        BATCH, message_id=f"msg_{name}@example.com", template_id=f"{name}@example.com", recipients=made
    )


@pytest.mark.parametrize("recipients", [0, 1, FEW, FEW + 1, 2500])
async def test_deliveries_are_numbered_in_the_order_given(subject: Subject, recipients: int) -> None:
    batch = batch_of(recipients)
    number = await subject.intake.accept(batch)
    assert await subject.recipients(number) == list(batch.recipients)


@pytest.mark.parametrize("copies", [1, FEW])
async def test_texts_arrive_as_they_are(subject: Subject, copies: int) -> None:
    made = tuple(
        NewRecipient(f"r{i}.{copy}@example.org", {text or "empty": text, "n": text})
        for i, text in enumerate(STRANGE)
        for copy in range(copies)
    )
    number = await subject.intake.accept(replace(BATCH, recipients=made))
    assert await subject.recipients(number) == list(made)


async def test_batches_get_numbers_of_their_own(subject: Subject) -> None:
    numbers = [await subject.intake.accept(batch_of(1, str(name))) for name in range(3)]
    assert numbers == sorted(set(numbers))


async def test_a_batch_is_announced_once_or_more(subject: Subject) -> None:
    number = await subject.intake.accept(BATCH)
    await subject.intake.announced(number)
    await subject.intake.announced(number)


async def test_the_rows_of_a_batch(postgres_subject: Subject, migrated_database: str) -> None:
    number = await postgres_subject.intake.accept(BATCH)
    (message,) = rows(migrated_database, "SELECT * FROM messages")
    assert message["created_at"].date() == datetime.now(UTC).date()
    assert message["announcing_since"] == message["created_at"]
    shown = {name: message[name] for name in message if name not in ("created_at", "announcing_since")}
    assert shown == {
        "number": number,
        "message_id": BATCH.message_id,
        "domain": "example.com",
        "sender_email": BATCH.sender_email,
        "sender_alias": BATCH.sender_alias,
        "subject": BATCH.subject,
        "template_id": BATCH.template_id,
        "global_fields": BATCH.global_fields,
        "recipients": 2,
        "scheduled_at": NOW,
        "traceparent": BATCH.traceparent,
        "announcement": 0,
        "announced_seq": 0,
        "announced_at": None,
    }
    (template,) = rows(migrated_database, "SELECT template_id, domain, type, title, html FROM templates")
    assert template == {
        "template_id": BATCH.template_id,
        "domain": "example.com",
        "type": "transient",
        "title": "",
        "html": BATCH.template_html,
    }
    first, second = rows(migrated_database, "SELECT * FROM deliveries ORDER BY seq")
    assert (first["status"], first["attempts"], first["emission"]) == ("accepted", 0, 0)
    assert (first["due_at"], first["expires_at"]) == (BATCH.scheduled_at, BATCH.expires_at)
    assert (first["fields"], second["fields"]) == ({"name": "Ada"}, None)


async def test_a_batch_may_use_a_template_that_is_there(
    postgres_subject: Subject, migrated_database: str
) -> None:
    await postgres_subject.intake.accept(BATCH)
    again = replace(BATCH, message_id="msg_2@example.com", template_html=None)
    await postgres_subject.intake.accept(again)
    assert len(rows(migrated_database, "SELECT 1 FROM templates")) == 1
    assert len(rows(migrated_database, "SELECT 1 FROM messages WHERE template_id = '1@example.com'")) == 2


@pytest.mark.parametrize("recipients", [1, FEW + 1])
async def test_all_of_a_batch_or_nothing(
    postgres_subject: Subject, migrated_database: str, recipients: int
) -> None:
    broken = replace(BATCH, recipients=(NewRecipient("nul\0@example.org", {}),) * recipients)
    with pytest.raises((psycopg.DataError, ValueError)):
        await postgres_subject.intake.accept(broken)
    for table in ("messages", "templates", "deliveries"):
        assert rows(migrated_database, f"SELECT 1 FROM {table}") == []


async def test_what_was_announced_is_marked(postgres_subject: Subject, migrated_database: str) -> None:
    intake = postgres_subject.intake
    numbers = [await intake.accept(batch_of(3, str(name))) for name in range(20)]
    await asyncio.gather(*(intake.announced(number) for number in numbers[1:]))
    left, *marked = rows(migrated_database, "SELECT * FROM messages ORDER BY number")
    assert (left["announcement"], left["announced_seq"], left["announced_at"]) == (0, 0, None)
    assert {(row["announcement"], row["announced_seq"]) for row in marked} == {(1, 3)}
    assert all(row["announced_at"] for row in marked)


async def test_a_later_announcement_stands(postgres_subject: Subject, migrated_database: str) -> None:
    number = await postgres_subject.intake.accept(batch_of(3))
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE messages SET announcement = 2, announced_seq = 1")
    await postgres_subject.intake.announced(number)
    (row,) = rows(migrated_database, "SELECT announcement, announced_seq FROM messages")
    assert row == {"announcement": 2, "announced_seq": 1}


async def test_away_is_said_and_what_was_announced_is_not_forgotten() -> None:
    intake = PostgresIntake(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await intake.accept(BATCH)
    with pytest.raises(LedgerUnavailable):
        await intake.announced(7)
    with pytest.raises(LedgerUnavailable):
        await intake.announced(7)
