"""What every note of attachments keeps to, in memory and in PostgreSQL; no call loses what it stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from kannon.adapters.postgres.attachments import PostgresAttachmentUses
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.adapters.postgres.intake import PostgresIntake
from kannon.core.batches import AttachmentRef, Body, NewBatch, NewRecipient
from kannon.core.errors import StoreUnavailable
from kannon.core.stored_objects import attachment_name
from kannon.ports import AttachmentUses
from tests.fakes_store import FakeAttachmentUses, FakeObjects

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DOMAIN, OTHER = "example.com", "other.example"


@dataclass
class Deleted:
    """A store that notes what is deleted from it."""

    named: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False

    async def __call__(self, domain: str, digest: str) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.named.append((domain, digest))


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    for name in (DOMAIN, OTHER):
        await PostgresDirectory(database, b"d" * 32).add_domain(name, b"key", "public")
    yield database
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def uses(request: pytest.FixtureRequest) -> AttachmentUses:
    if request.param == "fake":
        return FakeAttachmentUses()
    return PostgresAttachmentUses(request.getfixturevalue("database"))


async def test_what_is_needed_stays(uses: AttachmentUses) -> None:
    deleted = Deleted()
    await uses.note(DOMAIN, {"aa": 1}, NOW + DAY)
    assert list(await uses.collect(9, NOW + DAY, deleted)) == []
    assert deleted.named == []


async def test_what_nobody_needs_goes_once(uses: AttachmentUses) -> None:
    deleted = Deleted()
    await uses.note(DOMAIN, {"aa": 1, "bb": 2}, NOW)
    await uses.note(OTHER, {"aa": 1}, NOW + 9 * DAY)
    assert sorted(await uses.collect(9, NOW + DAY, deleted)) == [(DOMAIN, "aa"), (DOMAIN, "bb")]
    assert list(await uses.collect(9, NOW + DAY, deleted)) == []
    assert sorted(deleted.named) == [(DOMAIN, "aa"), (DOMAIN, "bb")]


async def test_who_asks_for_it_last_decides(uses: AttachmentUses) -> None:
    deleted = Deleted()
    await uses.note(DOMAIN, {"aa": 1}, NOW + 9 * DAY)
    await uses.note(DOMAIN, {"aa": 1}, NOW)
    assert list(await uses.collect(9, NOW + 5 * DAY, deleted)) == []


async def test_no_more_go_than_are_asked_for(uses: AttachmentUses) -> None:
    deleted = Deleted()
    await uses.note(DOMAIN, {f"{n:02}": n for n in range(5)}, NOW)
    assert len(await uses.collect(2, NOW + DAY, deleted)) == 2
    assert len(await uses.collect(9, NOW + DAY, deleted)) == 3


async def test_what_the_store_did_not_delete_is_tried_again(uses: AttachmentUses) -> None:
    deleted = Deleted(away=True)
    await uses.note(DOMAIN, {"aa": 1}, NOW)
    with pytest.raises(StoreUnavailable):
        await uses.collect(9, NOW + DAY, deleted)
    deleted.away = False
    assert list(await uses.collect(9, NOW + DAY, deleted)) == [(DOMAIN, "aa")]


def batch(number: int, digest: str = "aa") -> NewBatch:
    return NewBatch(
        message_id=f"msg_{number}@{DOMAIN}",
        domain=DOMAIN,
        sender_email=f"news@{DOMAIN}",
        sender_alias="",
        subject="Hello",
        template_id=f"{number}@{DOMAIN}",
        body=Body("<p>", ""),
        global_fields={},
        scheduled_at=NOW,
        expires_at=NOW + DAY,
        traceparent="",
        recipients=(NewRecipient("ada@example.org", {}),),
        attachments=(AttachmentRef("a.txt", "text/plain", "", digest, 1),),
    )


@pytest.mark.parametrize("status", ["accepted", "scheduled", "sending"])
async def test_what_a_batch_still_needs_stays_though_its_time_is_over(
    database: Database, migrated_database: str, status: str
) -> None:
    uses, deleted = PostgresAttachmentUses(database), Deleted()
    await uses.note(DOMAIN, {"aa": 1, "bb": 1}, NOW)
    await uses.note(OTHER, {"aa": 1}, NOW)
    await PostgresIntake(database).accept(batch(1))
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute("UPDATE deliveries SET status = %s", [status])
        assert sorted(await uses.collect(9, NOW + 3 * DAY, deleted)) == [(DOMAIN, "bb"), (OTHER, "aa")]
        connection.execute("UPDATE deliveries SET status = 'delivered'")
    assert list(await uses.collect(9, NOW + 4 * DAY, deleted)) == [(DOMAIN, "aa")]


async def test_whoever_stores_it_again_waits_until_it_is_gone(database: Database) -> None:
    uses, objects = PostgresAttachmentUses(database), FakeObjects()
    name = attachment_name(DOMAIN, "aa")
    await uses.note(DOMAIN, {"aa": 1}, NOW)
    await objects.put(name, b"x")
    deleting, may_go_on = asyncio.Event(), asyncio.Event()

    async def slowly(domain: str, digest: str) -> None:
        deleting.set()
        await may_go_on.wait()
        await objects.delete(attachment_name(domain, digest))

    async def call() -> None:
        await uses.note(DOMAIN, {"aa": 1}, NOW + 9 * DAY)
        await objects.put(name, b"x")

    collecting = asyncio.create_task(uses.collect(9, NOW + 3 * DAY, slowly))
    await deleting.wait()
    calling = asyncio.create_task(call())
    assert (await asyncio.wait([calling], timeout=0.2))[0] == set()
    may_go_on.set()
    await asyncio.gather(collecting, calling)
    assert name in objects.objects
    assert list(await uses.collect(9, NOW + 3 * DAY, Deleted())) == []


async def test_under_many_calls_and_collections_no_batch_is_without_its_attachment(
    database: Database,
) -> None:
    uses, objects = PostgresAttachmentUses(database), FakeObjects()
    at: Callable[[int], datetime] = lambda turn: NOW + turn * 3 * DAY  # noqa: E731
    turn = 0

    async def delete(domain: str, digest: str) -> None:
        await asyncio.sleep(0)
        await objects.delete(attachment_name(domain, digest))

    async def collect() -> None:
        while turn < 40:
            await uses.collect(3, at(turn), delete)
            await asyncio.sleep(0)

    async def call(digest: str, now: datetime) -> None:
        await uses.note(DOMAIN, {digest: 1}, now + DAY)
        await objects.put(attachment_name(DOMAIN, digest), b"x")
        assert attachment_name(DOMAIN, digest) in objects.objects

    collecting = [asyncio.create_task(collect()) for _ in range(2)]
    while turn < 40:
        turn += 1
        await asyncio.gather(*(call(f"{n % 4:02}", at(turn)) for n in range(8)))
        stored = set(await objects.names("attachments/", 99))
        assert stored >= {attachment_name(DOMAIN, f"{n:02}") for n in range(4)}
    await asyncio.gather(*collecting)


async def test_two_calls_with_the_same_files_in_another_order_do_not_lock_each_other(
    database: Database,
) -> None:
    uses = PostgresAttachmentUses(database)
    digests = [f"{n:02}" for n in range(20)]
    for turn in range(10):
        until = NOW + turn * DAY
        orders = (digests, digests[::-1]) * 3
        await asyncio.gather(*(uses.note(DOMAIN, dict.fromkeys(order, 1), until) for order in orders))
