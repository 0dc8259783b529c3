"""What every ledger keeps to, the one in memory and the one in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.intake import PostgresIntake
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.core.batch_options import AddedHeaders, BatchOptions
from kannon.core.batches import TOLD_ONCE, Body, Delivery, Move, NewBatch, NewRecipient, Outcome
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.keys import seal
from kannon.core.suppression import Happening, Reason, Source, Suppression
from kannon.core.tracking.policy import Mode, Policy
from kannon.ports import Ledger
from tests.fakes_ledger import FakeLedger
from tests.mail import DOMAIN, NOW, batch_content, delivery, dkim_key

RECIPIENTS = 4
CAP = 3
KEY = b"d" * 32
POLICY = Policy(Mode.FULL, Mode.IDENTIFIED)
OWN_POLICY = Policy(Mode.OFF, Mode.PSEUDONYMOUS)


@dataclass
class Subject:
    """A ledger with one Batch of a few accepted Deliveries."""

    ledger: Ledger
    batch: int
    read: Callable[[], Awaitable[dict[int, Status]]]
    outcomes: Callable[[], Awaitable[list[tuple[int, str]]]]
    suppressed: Callable[[], Awaitable[list[tuple[str, str, str]]]]

    def name(self, seq: int) -> DeliveryId:
        return DeliveryId(self.batch, seq)

    async def put(self, seq: int, status: Status, **changes: object) -> None:
        async with self.ledger.work() as work:
            row = (await work.lock([self.name(seq)]))[0]
            await work.move([move(row, status, **changes)], NOW)


def move(row: Delivery, status: Status, **changes: object) -> Move:
    return replace(row.moved(status), **changes)  # type: ignore[arg-type]


def outcome(row: Delivery, kind: str = "delivered", attempt: int = 1, at: datetime = NOW) -> Outcome:
    return row.outcome(kind, attempt, at, {"code": 250})


OPTIONS = BatchOptions(
    AddedHeaders(
        to=("Ä <a@b.test>",),
        cc=("c@d.test", "e@f.test"),
        reply_to="{{ name }} <g@h.test>",
        custom=(("X-A", "1"), ("X-B", "ü")),
        unsubscribe_url="https://i.test/{{ email }}",
        hosted_unsubscribe=True,
    ),
    frozenset({"a", "b"}),
    "text",
)


def own_policy(seq: int) -> Policy | None:
    return OWN_POLICY if seq == RECIPIENTS - 1 else None


def fake_subject() -> Subject:
    ledger = FakeLedger(in_hand=CAP)
    ledger.rows = {
        row.id: row for row in (delivery(seq, tracking=own_policy(seq)) for seq in range(RECIPIENTS))
    }
    ledger.contents[7] = batch_content(7, tracking=POLICY, options=OPTIONS)

    async def read() -> dict[int, Status]:
        return {row.id.seq: row.standing.status for row in ledger.rows.values()}

    async def outcomes() -> list[tuple[int, str]]:
        return sorted((o.id.seq, o.type) for o in ledger.outcomes.values())

    async def suppressed() -> list[tuple[str, str, str]]:
        return [(*place, one.reason.value) for place, one in ledger.suppressions.records.items()]

    return Subject(ledger, 7, read, outcomes, suppressed)


async def postgres_subject(url: str, database: Database) -> Subject:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO domains (name, dkim_private_key, dkim_public_key) VALUES (%s, %s, '')",
            (DOMAIN, seal(KEY, dkim_key(), b"n" * 12, DOMAIN)),
        )
    content = batch_content()
    new = NewBatch(
        message_id=content.message_id,
        domain=DOMAIN,
        sender_email=content.sender_email,
        sender_alias=content.sender_alias,
        subject=content.subject,
        template_id=f"t@{DOMAIN}",
        body=Body(content.html, content.text),
        global_fields=content.global_fields,
        scheduled_at=NOW,
        expires_at=NOW + timedelta(hours=24),
        traceparent="",
        recipients=tuple(
            NewRecipient(f"r{seq}@example.org", {"name": f"Number {seq}"}, own_policy(seq))
            for seq in range(RECIPIENTS)
        ),
        tracking=POLICY,
        options=OPTIONS,
    )
    number = await PostgresIntake(database).accept(new)
    assert isinstance(number, int)

    async def query(text: str) -> Sequence[tuple]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return await (await connection.execute(text)).fetchall()

    async def read() -> dict[int, Status]:
        return {seq: Status(status) for seq, status in await query("SELECT seq, status FROM deliveries")}

    async def outcomes() -> list[tuple[int, str]]:
        return list(await query("SELECT seq, type FROM stats ORDER BY seq, type"))

    async def suppressed() -> list[tuple[str, str, str]]:
        return list(await query("SELECT domain, address, reason FROM suppressions"))

    return Subject(PostgresLedger(database, KEY, in_hand=CAP), number, read, outcomes, suppressed)


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database where one is needed, else nothing."""
    return request.getfixturevalue("migrated_database") if request.param == "in PostgreSQL" else ""


@pytest.fixture
async def subject(url: str) -> AsyncIterator[Subject]:
    if not url:
        yield fake_subject()
        return
    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        yield await postgres_subject(url, database)


async def test_accepted_deliveries_are_locked_in_order_with_what_rendering_needs(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        rows = await work.lock_accepted(subject.batch, [2, 0, 99])
        assert [row.id.seq for row in rows] == [0, 2]
        assert rows[0].fields == {"name": "Number 0"}
        assert (rows[0].recipient, rows[0].domain) == ("r0@example.org", DOMAIN)
        assert rows[0].standing.status is Status.ACCEPTED


async def test_policies_come_with_a_batch_and_with_the_deliveries_that_have_their_own(
    subject: Subject,
) -> None:
    own = [None, None, None, OWN_POLICY]
    async with subject.ledger.work() as work:
        assert (await work.batch(subject.batch)).tracking == POLICY
        accepted = await work.lock_accepted(subject.batch, list(range(RECIPIENTS)))
        assert [row.tracking for row in accepted] == own
        await work.move([row.moved(Status.SCHEDULED) for row in accepted], NOW)
    async with subject.ledger.work() as work:
        claimed = sorted(await work.claim(RECIPIENTS, NOW), key=lambda row: row.id)
        assert [row.tracking for row in claimed] == own
        locked = await work.lock([subject.name(seq) for seq in range(RECIPIENTS)])
        assert [row.tracking for row in locked] == own
        await work.move([move(row, Status.SENDING, emission=1) for row in locked], NOW)
    async with subject.ledger.work() as work:
        stranded = sorted(await work.stranded(9, NOW + timedelta(days=1)), key=lambda row: row.id)
        assert [row.tracking for row in stranded] == own


async def test_deliveries_that_moved_on_are_not_locked_for_a_verdict(subject: Subject) -> None:
    await subject.put(1, Status.SENDING, emission=1)
    async with subject.ledger.work() as work:
        assert [row.id.seq for row in await work.lock_accepted(subject.batch, [0, 1])] == [0]


async def test_only_what_is_due_is_claimed_the_longest_due_first(subject: Subject) -> None:
    await subject.put(0, Status.SCHEDULED, due_at=NOW + timedelta(hours=1))
    await subject.put(1, Status.SCHEDULED, due_at=NOW)
    await subject.put(2, Status.SCHEDULED, due_at=NOW - timedelta(hours=1))
    async with subject.ledger.work() as work:
        assert [row.id.seq for row in await work.claim(10, NOW)] == [2, 1]
        assert [row.id.seq for row in await work.claim(1, NOW)] == [2]
        assert await work.anything_due(NOW)


async def test_a_claim_takes_no_delivery_twice_and_no_more_than_asked(subject: Subject) -> None:
    for seq in range(RECIPIENTS):
        await subject.put(seq, Status.SCHEDULED)
    for limit in (1, 3, 4, 100):
        async with subject.ledger.work() as work:
            claimed = [row.id.seq for row in await work.claim(limit, NOW)]
        assert claimed == list(range(min(limit, RECIPIENTS)))


async def test_nothing_is_due_where_nothing_is_scheduled(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        assert not await work.anything_due(NOW + timedelta(days=1))


async def test_room_is_what_the_cap_leaves(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        assert await work.room() == CAP
    await subject.put(0, Status.SENDING, emission=1)
    async with subject.ledger.work() as work:
        assert await work.room() == CAP - 1


async def test_an_emission_is_dated_and_remembers_the_first_of_its_attempt(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=1, edge="edge-0", published_seq=12)
    async with subject.ledger.work() as work:
        (row,) = await work.lock([subject.name(0)])
        assert (row.first_emitted_at, row.edge, row.standing.emission) == (NOW, "edge-0", 1)
        await work.move([move(row, Status.SENDING, emission=2)], NOW + timedelta(minutes=1))
    async with subject.ledger.work() as work:
        (row,) = await work.lock([subject.name(0)])
        assert row.first_emitted_at == NOW
        await work.move([move(row, Status.SCHEDULED, attempts=1, emission=0)], NOW)
    async with subject.ledger.work() as work:
        (row,) = await work.lock([subject.name(0)])
        assert (row.first_emitted_at, row.standing.attempts, row.edge) == (None, 1, "edge-0")


async def test_an_attempt_may_be_offered_for_weeks(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=100_000)
    async with subject.ledger.work() as work:
        (row,) = await work.lock([subject.name(0)])
    assert row.standing.emission == 100_000


async def test_an_outcome_that_is_only_to_be_the_first_of_its_type_is_written_once(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        row, other = await work.lock([subject.name(0), subject.name(1)])
        await work.record([outcome(row, "accepted", 0)])
    async with subject.ledger.work() as work:
        later = [outcome(one, "accepted", 0, NOW + timedelta(minutes=1)) for one in (row, other)]
        await work.record([replace(one, only_first=True) for one in later])
    assert await subject.outcomes() == [(0, "accepted"), (1, "accepted")]


async def test_that_an_exchanger_answered_is_never_forgotten(subject: Subject) -> None:
    await subject.put(0, Status.SCHEDULED, answered=True)
    await subject.put(0, Status.SENDING, emission=1, answered=False)
    async with subject.ledger.work() as work:
        (row,) = await work.lock([subject.name(0)])
    assert row.standing.answered


async def test_work_without_result_for_a_lease_is_stranded(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=1)
    await subject.put(1, Status.SCHEDULED)
    async with subject.ledger.work() as work:
        assert not await work.stranded(10, NOW + timedelta(minutes=14))
        late = await work.stranded(10, NOW + timedelta(minutes=16))
        assert [row.id.seq for row in late] == [0]


async def test_an_outcome_is_written_once(subject: Subject) -> None:
    for _ in range(2):
        async with subject.ledger.work() as work:
            (row,) = await work.lock([subject.name(0)])
            await work.record([outcome(row), outcome(row, "error", attempt=1)])
    assert await subject.outcomes() == [(0, "delivered"), (0, "error")]


async def test_the_same_kind_of_outcome_of_another_attempt_is_another(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        (row,) = await work.lock([subject.name(0)])
        await work.record([outcome(row, "error", 1), outcome(row, "error", 2)])
    assert await subject.outcomes() == [(0, "error"), (0, "error")]


@pytest.mark.parametrize("kind", sorted(TOLD_ONCE))
async def test_some_kinds_are_told_once_of_a_delivery_whatever_attempt_and_time(
    kind: str, subject: Subject
) -> None:
    for attempt, at in ((1, NOW), (2, NOW), (1, NOW + timedelta(hours=1))):
        async with subject.ledger.work() as work:
            (row, _) = await work.lock([subject.name(0), subject.name(1)])
            await work.record([outcome(row), outcome(row, kind, attempt, at)])
    assert await subject.outcomes() == sorted([(0, "delivered"), (0, kind)])


async def test_which_of_them_deliveries_have_is_told(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        first, second, _ = await work.lock([subject.name(seq) for seq in range(3)])
        await work.record([outcome(first, "bounced"), outcome(first, "complained"), outcome(first)])
        await work.record([outcome(second, "complained"), outcome(second, "error")])
        found = await work.reported([subject.name(seq) for seq in range(3)])
        assert {name.seq: set(types) for name, types in found.items()} == {
            0: {"bounced", "complained"},
            1: {"complained"},
        }
        assert await work.reported([]) == {}


async def test_what_fails_in_the_middle_leaves_nothing_behind(subject: Subject) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what is tested
        async with subject.ledger.work() as work:
            (row,) = await work.lock([subject.name(0)])
            await work.move([move(row, Status.SENDING, emission=1)], NOW)
            await work.record([outcome(row)])
            raise RuntimeError
    assert (await subject.read())[0] is Status.ACCEPTED
    assert await subject.outcomes() == []


async def test_unknown_deliveries_are_left_out_and_nothing_is_nothing(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        assert list(await work.lock([DeliveryId(subject.batch, 99), DeliveryId(1, 0)])) == []
        await work.move([], NOW)
        await work.record([])


async def test_a_batch_comes_with_all_that_its_messages_share(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        content = await work.batch(subject.batch)
    expected = batch_content(subject.batch)
    assert (content.subject, content.sender_email) == (expected.subject, expected.sender_email)
    assert (content.html, content.text, content.syntax) == (expected.html, expected.text, expected.syntax)
    assert content.options == OPTIONS
    assert content.dkim_private_key == dkim_key()
    assert dict(content.global_fields) == dict(expected.global_fields)


def soft_bounce(subject: Subject, seq: int, address: str = "ada@example.org", days: int = 0) -> Happening:
    at = NOW + timedelta(days=days)
    return Happening(Reason.SOFT_BOUNCE, DOMAIN, address, at, Source.TRANSMISSION, subject.name(seq))


async def test_soft_bounces_are_counted_by_address_within_the_window_each_delivery_once(
    subject: Subject,
) -> None:
    month = timedelta(days=30)
    async with subject.ledger.work() as work:
        first, other = soft_bounce(subject, 0), soft_bounce(subject, 1, "bea@example.org")
        assert list(await work.note_soft_bounces([first, other], month)) == [1, 1]
    async with subject.ledger.work() as work:
        again = [first, soft_bounce(subject, 2, days=29), soft_bounce(subject, 3, days=30)]
        assert list(await work.note_soft_bounces(again, month)) == [1, 2, 2]


async def test_a_suppression_is_written_with_the_transaction_or_not_at_all(subject: Subject) -> None:
    one = Suppression(DOMAIN, "ada@example.org", Reason.HARD_BOUNCE, Source.TRANSMISSION, NOW, None)
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what is tested
        async with subject.ledger.work() as work:
            await work.suppress([one], NOW)
            raise RuntimeError
    assert await subject.suppressed() == []
    for _ in range(2):
        async with subject.ledger.work() as work:
            await work.suppress([one, one], NOW)
    assert await subject.suppressed() == [(DOMAIN, "ada@example.org", "hard_bounce")]
