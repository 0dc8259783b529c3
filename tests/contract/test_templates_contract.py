"""What every store of Templates keeps to, the one in memory and the one in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.adapters.postgres.intake import PostgresIntake
from kannon.adapters.postgres.templates import PostgresTemplates
from kannon.core.batch_options import Syntax
from kannon.core.batches import Body, NewBatch, NewRecipient
from kannon.core.errors import BodyGone, Conflict, LedgerUnavailable
from kannon.ports import TemplateRecord, Templates
from tests.fakes_gateway import FakeTemplates

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOMAIN = "example.com"
BODY, OTHER = Body("<p>Hello {{ name }}</p>", "Hello {{ name }}"), Body("<p>Ключ</p>", "Ключ")
NAME = f"a@{DOMAIN}"
RECORD = TemplateRecord(NAME, DOMAIN, "template", "Welcome", BODY)


@dataclass
class Subject:
    """A store of Templates, and Batches that use its bodies."""

    templates: Templates
    send: Callable[[str], Awaitable[int]]

    async def number(self, name: str = NAME, domain: str = DOMAIN) -> int:
        number = await self.templates.body_of(name, domain)
        assert number is not None
        return number


def batch(name: str, template_id: str, body: Body | int) -> NewBatch:
    return NewBatch(
        message_id=f"msg_{name}@{DOMAIN}",
        domain=DOMAIN,
        sender_email=f"a@{DOMAIN}",
        sender_alias="",
        subject="",
        template_id=template_id,
        body=body,
        global_fields={},
        scheduled_at=NOW,
        expires_at=NOW + timedelta(days=1),
        traceparent="",
        recipients=(NewRecipient("ada@example.org", {}),),
    )


def fake_subject() -> Subject:
    templates = FakeTemplates({DOMAIN, "example.org"})

    async def send(template_id: str) -> int:
        templates.used.add(templates.numbers[template_id])
        return templates.numbers[template_id]

    return Subject(templates, send)


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    for name in (DOMAIN, "example.org"):
        await PostgresDirectory(database, b"d" * 32).add_domain(name, b"key", "public")
    yield database
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return fake_subject()
    database: Database = request.getfixturevalue("database")
    templates = PostgresTemplates(database)

    async def send(template_id: str) -> int:
        number = await templates.body_of(template_id, DOMAIN)
        assert number is not None
        await PostgresIntake(database).accept(batch(str(number), template_id, number))
        return number

    return Subject(templates, send)


async def test_a_template_is_found_with_its_body(subject: Subject) -> None:
    assert await subject.templates.add(NAME, DOMAIN, "Welcome", BODY) == RECORD
    assert await subject.templates.template(NAME) == RECORD
    assert await subject.templates.body(await subject.number()) == BODY
    assert await subject.templates.template(f"b@{DOMAIN}") is None
    assert await subject.templates.body(4711) is None


async def test_a_body_keeps_its_options(subject: Subject) -> None:
    body = Body("<p>{% if a %}{% endif %}</p>", "", Syntax.LIQUID, css_inlined=True)
    await subject.templates.add(NAME, DOMAIN, "", BODY)
    assert await subject.templates.update(NAME, None, body) == replace(RECORD, title="", body=body)
    assert await subject.templates.template(NAME) == replace(RECORD, title="", body=body)
    assert await subject.templates.body(await subject.number()) == body


async def test_a_template_is_its_domains_own(subject: Subject) -> None:
    await subject.templates.add(NAME, DOMAIN, "", BODY)
    assert await subject.templates.body_of(NAME, "example.org") is None
    assert await subject.templates.body_of(f"b@{DOMAIN}", DOMAIN) is None


async def test_a_template_needs_its_domain(subject: Subject) -> None:
    with pytest.raises(Conflict, match=r"example\.net"):
        await subject.templates.add("a@example.net", "example.net", "", BODY)
    assert await subject.templates.template("a@example.net") is None


async def test_title_and_body_change_together_or_alone(subject: Subject) -> None:
    await subject.templates.add(NAME, DOMAIN, "Welcome", BODY)
    assert await subject.templates.update(NAME, "Hi", None) == replace(RECORD, title="Hi")
    assert await subject.templates.update(NAME, None, OTHER) == replace(RECORD, title="Hi", body=OTHER)
    assert (
        await subject.templates.update(NAME, "Welcome", BODY)
        == RECORD
        == await subject.templates.template(NAME)
    )
    assert await subject.templates.update(f"b@{DOMAIN}", "Hi", None) is None


async def test_a_body_stays_what_it_was_for_batches_that_use_it(subject: Subject) -> None:
    await subject.templates.add(NAME, DOMAIN, "", BODY)
    number = await subject.send(NAME)
    await subject.templates.update(NAME, None, OTHER)
    assert await subject.number() != number
    assert await subject.templates.body(number) == BODY
    await subject.templates.delete(NAME)
    assert await subject.templates.body(number) == BODY


async def test_a_body_that_nobody_uses_goes_with_its_name(subject: Subject) -> None:
    await subject.templates.add(NAME, DOMAIN, "Welcome", BODY)
    first = await subject.number()
    await subject.templates.update(NAME, None, OTHER)
    second = await subject.number()
    assert await subject.templates.body(first) is None
    assert await subject.templates.delete(NAME) == replace(RECORD, body=OTHER)
    assert await subject.templates.body(second) is None
    assert await subject.templates.template(NAME) is None
    assert await subject.templates.delete(NAME) is None


async def test_curated_templates_come_oldest_first_and_page_by_page(subject: Subject) -> None:
    names = [f"{name}@{DOMAIN}" for name in ("c", "a", "b")]
    for name in names:
        await subject.templates.add(name, DOMAIN, "", BODY)
    await subject.templates.add("x@example.org", "example.org", "", BODY)
    await subject.templates.update(names[0], "changed", None)
    total, page = await subject.templates.curated(DOMAIN, 1, 1)
    assert (total, [record.template_id for record in page]) == (3, names[1:2])
    total, page = await subject.templates.curated(DOMAIN, 0, 10)
    assert [record.template_id for record in page] == names
    assert await subject.templates.curated(DOMAIN, 3, 10) == (3, [])
    assert await subject.templates.curated("example.net", 0, 10) == (0, [])


async def test_transient_templates_are_found_but_not_listed(database: Database) -> None:
    templates = PostgresTemplates(database)
    await PostgresIntake(database).accept(batch("1", NAME, BODY))
    assert await templates.template(NAME) == TemplateRecord(NAME, DOMAIN, "transient", "", BODY)
    assert await templates.body_of(NAME, DOMAIN)
    assert await templates.curated(DOMAIN, 0, 10) == (0, [])


async def test_a_batch_that_is_just_accepted_keeps_its_body(
    database: Database, migrated_database: str
) -> None:
    templates = PostgresTemplates(database)
    await templates.add(NAME, DOMAIN, "", BODY)
    number = await templates.body_of(NAME, DOMAIN)
    with psycopg.connect(migrated_database) as accepting:
        accepting.execute(
            "INSERT INTO messages (message_id, domain, sender_email, sender_alias, subject, template_id, "
            "body, recipients, scheduled_at) VALUES ('m', %s, '', '', '', %s, %s, 1, now())",
            (DOMAIN, NAME, number),
        )
        async with asyncio.timeout(5):  # nobody waits for the other
            await templates.delete(NAME)
        accepting.commit()
    assert number
    assert await templates.body(number) == BODY


async def test_who_comes_too_late_for_a_body_is_told_to_come_again(
    database: Database, migrated_database: str
) -> None:
    templates = PostgresTemplates(database)
    await templates.add(NAME, DOMAIN, "", BODY)
    number = await templates.body_of(NAME, DOMAIN)
    assert number
    await templates.delete(NAME)
    with pytest.raises(BodyGone) as refused:
        await PostgresIntake(database).accept(batch("1", NAME, number))
    assert refused.value.retry_after


async def test_changes_at_once_leave_one_body(database: Database, migrated_database: str) -> None:
    templates = PostgresTemplates(database)
    await templates.add(NAME, DOMAIN, "", BODY)
    bodies = [Body(f"<p>{n}</p>", str(n)) for n in range(8)]
    await asyncio.gather(*(templates.update(NAME, None, body) for body in bodies))
    with psycopg.connect(migrated_database) as connection:
        assert connection.execute("SELECT count(*) FROM bodies").fetchone() == (1,)


async def test_away_is_said() -> None:
    templates = PostgresTemplates(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await templates.body_of(NAME, DOMAIN)
