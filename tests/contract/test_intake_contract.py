"""What every intake keeps to, the one in memory and the one in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.adapters.postgres.intake import FEW, PostgresIntake
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.core.batches import KEYS_KEPT_FOR, AttachmentRef, Body, KeyedAnswer, NewBatch, NewRecipient
from kannon.core.errors import BodyGone, LedgerUnavailable, LimitReached
from kannon.core.limits import Limits
from kannon.core.tracking.policy import UNTRACKED, Mode, Policy
from kannon.ports import Intake
from tests.conftest import Eventually
from tests.fakes_gateway import FakeIntake

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
BATCH = NewBatch(
    message_id="msg_1@example.com",
    domain="example.com",
    sender_email="news@example.com",
    sender_alias="Äpfel & Birnen",
    subject="Hello {{ name }}",
    template_id="1@example.com",
    body=Body("<p>Hello {{ name }}</p>", "Hello {{ name }}"),
    global_fields={"city": 'Rome "caput\\mundi"'},
    scheduled_at=NOW,
    expires_at=NOW + timedelta(days=1),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    recipients=(NewRecipient("ada@example.org", {"name": "Ada"}), NewRecipient("bob@example.org", {})),
    attachments=(AttachmentRef("a.txt", "", "", "aa", 1),),
    tracking=Policy(Mode.FULL, Mode.OFF),
)
ANSWER = KeyedAnswer("example.com", "a key", b"h" * 32, b"an answer", NOW)
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
        return [
            NewRecipient(
                row["email"],
                row["fields"] or {},
                Policy.of_digits(row["tracking"]) if row["tracking"] else None,
            )
            for row in found
        ]

    yield Subject(PostgresIntake(database), recipients)
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return fake_subject()
    found: Subject = request.getfixturevalue("postgres_subject")
    return found


async def accepted(subject: Subject, batch: NewBatch, keyed: KeyedAnswer | None = None) -> int:
    """The number of a Batch that was not accepted before."""
    number = await subject.intake.accept(batch, keyed)
    assert isinstance(number, int)
    return number


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
    number = await accepted(subject, batch)
    assert await subject.recipients(number) == list(batch.recipients)


@pytest.mark.parametrize("copies", [1, FEW])
async def test_texts_arrive_as_they_are(subject: Subject, copies: int) -> None:
    made = tuple(
        NewRecipient(f"r{i}.{copy}@example.org", {text or "empty": text, "n": text})
        for i, text in enumerate(STRANGE)
        for copy in range(copies)
    )
    number = await accepted(subject, replace(BATCH, recipients=made))
    assert await subject.recipients(number) == list(made)


@pytest.mark.parametrize("copies", [1, FEW])
async def test_what_recipients_state_of_tracking_stays_with_them(subject: Subject, copies: int) -> None:
    policies = [None, UNTRACKED, Policy(Mode.FULL, Mode.OFF), Policy(Mode.PSEUDONYMOUS, Mode.ANONYMOUS)]
    made = tuple(
        NewRecipient(f"r{i}.{copy}@example.org", {}, policy)
        for i, policy in enumerate(policies)
        for copy in range(copies)
    )
    number = await accepted(subject, replace(BATCH, recipients=made))
    assert await subject.recipients(number) == list(made)


async def test_batches_get_numbers_of_their_own(subject: Subject) -> None:
    numbers = [await accepted(subject, batch_of(1, str(name))) for name in range(3)]
    assert numbers == sorted(set(numbers))


async def test_a_batch_is_announced_once_or_more(subject: Subject) -> None:
    number = await accepted(subject, BATCH)
    for next_seq in (1, 2, 2):
        await subject.intake.announced(number, next_seq)


async def test_the_rows_of_a_batch(postgres_subject: Subject, migrated_database: str) -> None:
    number = await accepted(postgres_subject, BATCH)
    (message,) = rows(migrated_database, "SELECT * FROM messages")
    assert message["created_at"].date() == datetime.now(UTC).date()
    assert message["announcing_since"] == message["created_at"]
    assert message["left_alone_until"] == message["created_at"] + timedelta(seconds=3)
    shown = {
        name: message[name]
        for name in message
        if name not in ("created_at", "announcing_since", "left_alone_until")
    }
    assert shown == {
        "number": number,
        "message_id": BATCH.message_id,
        "domain": "example.com",
        "sender_email": BATCH.sender_email,
        "sender_alias": BATCH.sender_alias,
        "subject": BATCH.subject,
        "template_id": BATCH.template_id,
        "body": message["body"],
        "global_fields": BATCH.global_fields,
        "recipients": 2,
        "scheduled_at": NOW,
        "traceparent": BATCH.traceparent,
        "attachments": [asdict(attachment) for attachment in BATCH.attachments],
        "announcement": 0,
        "announced_seq": 0,
        "announced_at": None,
        "cancelled_at": None,
        "retry_budget": None,
        "unsettled_from": None,
        "tracking": 51,
        "options": {},
    }
    (template,) = rows(migrated_database, "SELECT template_id, domain, type, title, body FROM templates")
    assert template == {
        "template_id": BATCH.template_id,
        "domain": "example.com",
        "type": "transient",
        "title": "",
        "body": message["body"],
    }
    (body,) = rows(migrated_database, "SELECT number, domain, html, text, syntax, css_inlined FROM bodies")
    assert body == {
        "syntax": "plain",
        "css_inlined": False,
        "number": message["body"],
        "domain": "example.com",
        "html": "<p>Hello {{ name }}</p>",
        "text": "Hello {{ name }}",
    }
    first, second = rows(migrated_database, "SELECT * FROM deliveries ORDER BY seq")
    assert (first["status"], first["attempts"], first["emission"]) == ("accepted", 0, 0)
    assert (first["due_at"], first["expires_at"]) == (BATCH.scheduled_at, BATCH.expires_at)
    assert (first["fields"], second["fields"]) == ({"name": "Ada"}, None)


async def test_a_batch_may_use_a_body_that_is_there(
    postgres_subject: Subject, migrated_database: str
) -> None:
    await postgres_subject.intake.accept(BATCH)
    (body,) = rows(migrated_database, "SELECT number FROM bodies")
    again = replace(BATCH, message_id="msg_2@example.com", body=body["number"])
    await postgres_subject.intake.accept(again)
    for table in ("templates", "bodies"):
        assert len(rows(migrated_database, f"SELECT 1 FROM {table}")) == 1
    text = "SELECT count(*) AS found FROM messages WHERE template_id = '1@example.com' AND body = "
    assert rows(migrated_database, text + str(body["number"])) == [{"found": 2}]


@pytest.mark.parametrize("recipients", [1, FEW + 1])
async def test_a_body_that_is_gone_is_said_and_takes_no_key(subject: Subject, recipients: int) -> None:
    with pytest.raises(BodyGone):
        await subject.intake.accept(replace(batch_of(recipients), body=4711), ANSWER)
    assert await subject.intake.answered("example.com", "a key", NOW) is None


async def test_under_one_key_there_is_one_batch_and_one_answer(subject: Subject) -> None:
    number = await accepted(subject, BATCH, ANSWER)
    later = replace(ANSWER, answer=b"another answer", content_hash=b"o" * 32, at=NOW + timedelta(hours=1))
    assert await subject.intake.accept(batch_of(2), later) == ANSWER
    assert await subject.intake.answered("example.com", "a key", NOW) == ANSWER
    assert await subject.intake.accept(batch_of(3, "3")) != number, "without a key nothing is compared"


async def test_keys_of_one_domain_are_not_those_of_another(subject: Subject) -> None:
    await subject.intake.accept(BATCH, ANSWER)
    assert await subject.intake.answered("example.com", "another key", NOW) is None
    assert await subject.intake.answered("example.org", "a key", NOW) is None


async def test_a_key_is_free_again_when_its_time_is_over(subject: Subject) -> None:
    await subject.intake.accept(BATCH, ANSWER)
    over = NOW + KEYS_KEPT_FOR
    assert await subject.intake.answered("example.com", "a key", over - timedelta(seconds=1)) == ANSWER
    assert await subject.intake.answered("example.com", "a key", over) is None
    later = replace(ANSWER, answer=b"another answer", at=over)
    await accepted(subject, batch_of(1), later)
    assert await subject.intake.answered("example.com", "a key", over) == later


@pytest.mark.parametrize("recipients", [1, 2500])
async def test_of_calls_at_once_under_one_key_one_is_taken(
    postgres_subject: Subject, migrated_database: str, recipients: int
) -> None:
    answers = [replace(ANSWER, answer=b"%d" % name) for name in range(4)]
    given = await asyncio.gather(
        *(
            postgres_subject.intake.accept(batch_of(recipients, str(name)), answer)
            for name, answer in enumerate(answers)
        )
    )
    (kept,) = rows(migrated_database, "SELECT answer FROM idempotency_keys")
    (first,) = [name for name, number in enumerate(given) if isinstance(number, int)]
    assert kept["answer"] == b"%d" % first
    assert [answer for answer in given if isinstance(answer, KeyedAnswer)] == [answers[first]] * 3
    assert rows(migrated_database, "SELECT message_id FROM messages") == [
        {"message_id": f"msg_{first}@example.com"}
    ]
    assert rows(migrated_database, "SELECT count(*) AS found FROM deliveries") == [{"found": recipients}]


async def test_a_call_that_fails_leaves_its_key_to_the_one_that_waits(
    postgres_subject: Subject, migrated_database: str, eventually: Eventually
) -> None:
    with psycopg.connect(migrated_database) as failing:
        failing.execute("INSERT INTO idempotency_keys VALUES ('example.com', 'a key', '', '', %s)", (NOW,))
        waiting = asyncio.create_task(accepted(postgres_subject, BATCH, ANSWER))
        text = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await eventually(lambda: rows(migrated_database, text))
        failing.rollback()
    assert await waiting
    assert await postgres_subject.intake.answered("example.com", "a key", NOW) == ANSWER


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
    numbers = [await accepted(postgres_subject, batch_of(3, str(name))) for name in range(20)]
    await asyncio.gather(*(intake.announced(number, 3) for number in numbers[1:]))
    left, *marked = rows(migrated_database, "SELECT * FROM messages ORDER BY number")
    assert (left["announcement"], left["announced_seq"], left["announced_at"]) == (0, 0, None)
    assert {(row["announcement"], row["announced_seq"]) for row in marked} == {(1, 3)}
    assert all(row["announced_at"] for row in marked)


async def test_the_tick_leaves_alone_what_the_gateway_goes_on_with(
    postgres_subject: Subject, migrated_database: str
) -> None:
    number = await accepted(postgres_subject, batch_of(300))
    await postgres_subject.intake.announced(number, 200)
    await postgres_subject.intake.announced(number, 100)
    (row,) = rows(migrated_database, "SELECT * FROM messages")
    assert (row["announced_seq"], row["announcement"]) == (200, 1)
    assert row["left_alone_until"] == row["announced_at"] + timedelta(seconds=30)
    database = Database(migrated_database)
    await database.open()
    ledger = PostgresLedger(database)
    assert not await ledger.unannounced(10, row["left_alone_until"] - timedelta(seconds=1))
    (chunk,) = await ledger.unannounced(10, row["left_alone_until"] + timedelta(seconds=1))
    assert (chunk.announcement, chunk.recipients[0].seq) == (1, 200)
    await database.close()


async def test_a_later_announcement_stands(postgres_subject: Subject, migrated_database: str) -> None:
    number = await accepted(postgres_subject, batch_of(3))
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE messages SET announcement = 2, announced_seq = 1")
    await postgres_subject.intake.announced(number, 3)
    (row,) = rows(migrated_database, "SELECT announcement, announced_seq FROM messages")
    assert row == {"announcement": 2, "announced_seq": 1}


async def test_keys_whose_time_is_over_are_forgotten_some_at_a_time(
    postgres_subject: Subject, migrated_database: str
) -> None:
    for name in range(4):
        at = NOW - timedelta(hours=name)
        await postgres_subject.intake.accept(batch_of(0, str(name)), replace(ANSWER, key=str(name), at=at))
    database = Database(migrated_database)
    await database.open()
    ledger, now = PostgresLedger(database), NOW + KEYS_KEPT_FOR - timedelta(hours=1)
    assert [await ledger.forget_keys(2, now) for _ in range(3)] == [2, 1, 0]
    assert rows(migrated_database, "SELECT key FROM idempotency_keys") == [{"key": "0"}]
    await database.close()


async def test_away_is_said_and_what_was_announced_is_not_forgotten() -> None:
    intake = PostgresIntake(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await intake.accept(BATCH)
    with pytest.raises(LedgerUnavailable):
        await intake.announced(7, 1)
    with pytest.raises(LedgerUnavailable):
        await intake.announced(7, 1)


DAILY = Limits(mails_per_day=3)


async def test_mails_are_counted_up_to_the_limit(subject: Subject) -> None:
    for name, recipients in (("2", 2), ("3", 0), ("4", 1)):
        assert await subject.intake.accept(batch_of(recipients, name), limits=DAILY)
    with pytest.raises(LimitReached, match=r"^the domain has sent 3 of its 3 mails of this day$") as refused:
        await subject.intake.accept(batch_of(1, "5"), limits=DAILY)
    assert 0 < refused.value.retry_after <= 24 * 3600
    assert await subject.intake.accept(batch_of(0, "6"), limits=DAILY)
    assert await subject.intake.accept(batch_of(1, "7"))


@pytest.mark.parametrize("recipients", [2, FEW + 1])
async def test_what_is_refused_is_not_counted(subject: Subject, recipients: int) -> None:
    limits = Limits(mails_per_day=2 * recipients - 1)
    assert await subject.intake.accept(batch_of(recipients, "2"), limits=limits)
    for name in ("3", "4"):
        with pytest.raises(LimitReached):
            await subject.intake.accept(batch_of(recipients, name), limits=limits)
    assert await subject.intake.accept(batch_of(recipients - 1, "5"), limits=limits)


async def test_a_repeated_call_counts_once_and_a_refused_one_keeps_no_key(subject: Subject) -> None:
    for _ in range(5):
        await subject.intake.accept(batch_of(2, "2"), ANSWER, DAILY)
    other = replace(ANSWER, key="another key")
    with pytest.raises(LimitReached):
        await subject.intake.accept(batch_of(2, "3"), other, DAILY)
    assert isinstance(await subject.intake.accept(batch_of(1, "3"), other, DAILY), int)


async def test_the_limit_of_a_minute_says_when_it_ends(subject: Subject) -> None:
    limits = Limits(mails_per_minute=1)
    batches = [batch_of(1, name) for name in ("2", "3", "4")]  # of three one is in the minute of another

    async def send_all() -> None:
        for batch in batches:
            await subject.intake.accept(batch, limits=limits)

    with pytest.raises(LimitReached, match=r"of this minute$") as refused:
        await send_all()
    assert 0 < refused.value.retry_after <= 60


@pytest.mark.parametrize(("span", "limits"), [("minute", Limits(1, 2)), ("day", Limits(0, 1))])
async def test_a_new_minute_and_a_new_day_begin_at_nothing(
    postgres_subject: Subject, migrated_database: str, span: str, limits: Limits
) -> None:
    await postgres_subject.intake.accept(batch_of(1, "2"), limits=limits)
    with psycopg.connect(migrated_database) as connection:
        connection.execute(f"UPDATE mail_counts SET {span} = {span} - interval '1 {span}'")
    assert await postgres_subject.intake.accept(batch_of(1, "3"), limits=limits)
    with pytest.raises(LimitReached):
        await postgres_subject.intake.accept(batch_of(1, "4"), limits=replace(limits, mails_per_day=1))


async def test_a_clock_that_went_back_frees_nothing(
    postgres_subject: Subject, migrated_database: str
) -> None:
    await postgres_subject.intake.accept(batch_of(3, "2"), limits=DAILY)
    with psycopg.connect(migrated_database) as connection:
        connection.execute(
            "UPDATE mail_counts SET day = day + interval '1 day', minute = minute + interval '1 day'"
        )
    with pytest.raises(LimitReached) as refused:
        await postgres_subject.intake.accept(batch_of(1, "3"), limits=DAILY)
    assert refused.value.retry_after > 3600 * 24


async def test_who_has_no_limits_has_no_row(postgres_subject: Subject, migrated_database: str) -> None:
    await postgres_subject.intake.accept(batch_of(2, "2"), limits=Limits(recipients_per_call=5))
    assert rows(migrated_database, "SELECT * FROM mail_counts") == []


async def test_two_gateways_together_never_exceed_a_limit(
    postgres_subject: Subject, migrated_database: str
) -> None:
    other = Database(migrated_database)
    await other.open()
    intakes = [postgres_subject.intake, PostgresIntake(other)]
    limits = Limits(mails_per_day=20)

    async def send(number: int) -> bool:
        try:
            await intakes[number % 2].accept(batch_of(3, str(number + 2)), limits=limits)
        except LimitReached:
            return False
        return True

    taken = await asyncio.gather(*(send(number) for number in range(40)))
    await other.close()
    assert sum(taken) == 6
    assert rows(migrated_database, "SELECT count(*) AS n FROM deliveries") == [{"n": 18}]
    assert rows(migrated_database, "SELECT in_day FROM mail_counts") == [{"in_day": 18}]


async def test_a_domain_that_waits_for_its_turn_keeps_no_other_from_sending(
    postgres_subject: Subject, migrated_database: str
) -> None:
    """Its calls wait for another gateway's; there are more of them than connections."""
    intake = postgres_subject.intake
    await intake.accept(batch_of(1, "2"), limits=DAILY)
    with psycopg.connect(migrated_database) as another:
        another.execute("SELECT * FROM mail_counts FOR UPDATE")
        waiting = [
            asyncio.create_task(intake.accept(batch_of(1, str(name)), limits=Limits(mails_per_day=50)))
            for name in range(3, 13)
        ]
        for name in range(13, 23):
            assert await intake.accept(batch_of(1, str(name)))
        assert not any(task.done() for task in waiting)
    assert len(await asyncio.gather(*waiting)) == 10
