"""What every ledger keeps to when opens and clicks are recorded, in memory and in PostgreSQL."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.outbox import PostgresOutbox
from kannon.core.erasure import ERASED
from kannon.core.payloads import Act, Engagement, Outcomes
from kannon.core.tracking.policy import Mode
from kannon.ports import Ledger
from tests.contract.test_ledger_contract import fake_subject, postgres_subject
from tests.fakes import FakePublisher
from tests.fakes_ledger import FakeLedger
from tests.mail import DOMAIN, NOW

PSEUDONYM = f"k3v9@track.{DOMAIN}"
LINK = "https://example.com/spring?a=1&b=2"
Row = tuple[str, str, str, dict[str, str]]


@dataclass
class Subject:
    """A ledger with a Batch; what is written and counted is read past it.

    Attributes:
        rows: address, type, machine and data of opens and clicks, in order.
        counts: by type, with `_machine` behind those of machines.
        erase: makes all its Recipients erased ones.
    """

    ledger: Ledger
    batch: int
    rows: Callable[[], Awaitable[list[Row]]]
    counts: Callable[[], Awaitable[dict[str, int]]]
    erase: Callable[[], Awaitable[None]]

    def seen(self, name: str, mode: Mode = Mode.IDENTIFIED, **changes: Any) -> Engagement:
        plain = Engagement(name, Act.OPENED, mode, DOMAIN, self.batch, NOW)
        if mode >= Mode.IDENTIFIED:
            plain = replace(plain, seq=0)
        if mode is Mode.PSEUDONYMOUS:
            plain = replace(plain, pseudonym=PSEUDONYM)
        return replace(plain, **changes)

    async def record(self, *engagements: Engagement) -> int:
        async with self.ledger.work() as work:
            return await work.record_engagements(engagements, NOW)


def in_memory() -> Subject:
    plain = fake_subject()
    ledger = plain.ledger
    assert isinstance(ledger, FakeLedger)

    async def rows() -> list[Row]:
        found = [(ledger.address_of(one), one) for one in ledger.engagements.values()]
        return sorted(
            ((email, one.act.value, one.machine, known(one)) for email, one in found if email), key=str
        )

    async def counts() -> dict[str, int]:
        return Counter(
            one.act.value + ("_machine" if one.machine else "") for one in ledger.engagements.values()
        )

    async def erase() -> None:
        for row in list(ledger.rows.values()):
            ledger.rows[row.id] = replace(row, recipient=ERASED)

    return Subject(ledger, plain.batch, rows, counts, erase)


def known(one: Engagement) -> dict[str, str]:
    names = ("url", "ip", "user_agent") if one.mode is Mode.FULL else ("url",)
    return {name: getattr(one, name) for name in names if getattr(one, name)}


COUNTS = """
SELECT CASE WHEN right(measure, 8) = '_machine' THEN measure ELSE split_part(measure, '_', 1) END, sum(count)
FROM rollup_deltas GROUP BY 1
"""


IN_POSTGRESQL = pytest.mark.parametrize("url", ["in PostgreSQL"], indirect=True)
"""What the fake does not do."""


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database where one is needed, else nothing."""
    return request.getfixturevalue("migrated_database") if request.param == "in PostgreSQL" else ""


@pytest.fixture
async def subject(url: str) -> AsyncIterator[Subject]:
    if not url:
        yield in_memory()
        return

    async def query(text: str) -> Sequence[Any]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return await (await connection.execute(text)).fetchall()

    async def rows() -> list[Row]:
        return sorted(await query("SELECT email, type, machine, data FROM stats"), key=str)

    async def counts() -> dict[str, int]:
        return {kind: int(number) for kind, number in await query(COUNTS)}

    async def erase() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("UPDATE deliveries SET email = %s", (ERASED,))

    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        plain = await postgres_subject(url, database)
        yield Subject(plain.ledger, plain.batch, rows, counts, erase)


async def test_each_mode_keeps_what_it_allows_and_no_more(subject: Subject) -> None:
    all_of_it = {"act": Act.CLICKED, "url": LINK, "ip": "192.0.2.7", "user_agent": "Reader/1"}
    ids = count()
    for mode in Mode:
        everybody = {"seq": 0, "pseudonym": PSEUDONYM} | all_of_it
        await subject.record(subject.seen(f"e{next(ids)}", mode, **everybody))
    assert await subject.rows() == sorted(
        [
            (PSEUDONYM, "clicked", "", {"url": LINK}),
            ("r0@example.org", "clicked", "", {"url": LINK}),
            ("r0@example.org", "clicked", "", {"url": LINK, "ip": "192.0.2.7", "user_agent": "Reader/1"}),
        ],
        key=str,
    )
    assert await subject.counts() == {"clicked": 4}


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.OFF])
async def test_what_comes_again_is_written_and_counted_once(subject: Subject, mode: Mode) -> None:
    first, second = subject.seen("one", mode), subject.seen("two", mode)
    assert await subject.record(first, first) == 1
    assert await subject.record(second, first) == 1
    assert await subject.record(first, second) == 0
    assert await subject.counts() == {"opened": 2}
    assert len(await subject.rows()) == (0 if mode is Mode.ANONYMOUS else 2)


async def test_two_transactions_with_the_same_engagements_count_them_once(subject: Subject) -> None:
    modes = [mode for mode in Mode if mode is not Mode.OFF]
    chunk = [subject.seen(f"{mode}-{n}", mode) for n in range(10) for mode in modes]
    new = await asyncio.gather(*(subject.record(*chunk[::step]) for step in (1, -1, 1, -1)))
    assert sum(new) == len(chunk)
    assert await subject.counts() == {"opened": len(chunk)}


async def test_what_machines_did_is_marked_and_counted_apart(subject: Subject) -> None:
    await subject.record(
        subject.seen("one"),
        subject.seen("two", machine="apple-mail-privacy"),
        subject.seen("three", Mode.ANONYMOUS, machine="image-proxy"),
    )
    assert [machine for _, _, machine, _ in await subject.rows()] == ["", "apple-mail-privacy"]
    assert await subject.counts() == {"opened": 1, "opened_machine": 2}


async def test_what_is_of_a_delivery_that_is_gone_is_counted_once_and_has_no_row(subject: Subject) -> None:
    gone = [subject.seen("one", seq=99), subject.seen("two", batch=1, seq=0), subject.seen("three", seq=None)]
    assert await subject.record(*gone) == 3
    assert await subject.record(*gone) == 0
    assert await subject.rows() == []
    assert await subject.counts() == {"opened": 3}


async def test_what_is_of_who_was_erased_is_counted_once_and_has_no_row(subject: Subject) -> None:
    await subject.erase()
    seen = subject.seen("one", Mode.FULL, ip="192.0.2.1", user_agent="Reader/1")
    assert await subject.record(seen) == 1
    assert await subject.record(seen) == 0
    assert await subject.rows() == []
    assert await subject.counts() == {"opened": 1}


async def test_acts_that_are_no_outcomes_are_passed_over(subject: Subject) -> None:
    assert await subject.record(subject.seen("one", act=Act.UNSUBSCRIBED)) == 0
    assert await subject.record() == 0
    assert await subject.counts() == {}


async def test_what_fails_in_the_middle_leaves_nothing_behind(subject: Subject) -> None:
    chunk = [subject.seen("one"), subject.seen("two", Mode.ANONYMOUS)]
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what is tested
        async with subject.ledger.work() as work:
            await work.record_engagements(chunk, NOW)
            raise RuntimeError
    assert await subject.counts() == {}
    assert await subject.record(*chunk) == 2


@IN_POSTGRESQL
async def test_a_first_is_that_of_a_person_once_of_a_delivery(subject: Subject, url: str) -> None:
    later = NOW + timedelta(minutes=1)
    await subject.record(subject.seen("m", machine="image-proxy"), subject.seen("two", at=later))
    await subject.record(subject.seen("one"), subject.seen("other", seq=1), subject.seen("again", seq=1))
    await subject.record(subject.seen("p1", Mode.PSEUDONYMOUS), subject.seen("p2", Mode.PSEUDONYMOUS))
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT measure, sum(count) FROM rollup_deltas GROUP BY 1").fetchall()
    assert dict(found) == {"opened_machine": 1, "opened_first": 3, "opened": 3}


@IN_POSTGRESQL
async def test_what_has_a_row_is_put_into_the_outbox_once(subject: Subject, url: str) -> None:
    for _ in range(2):
        await subject.record(
            subject.seen("one", Mode.FULL, act=Act.CLICKED, url=LINK, ip="192.0.2.7", machine="link-scanner"),
            subject.seen("two", Mode.ANONYMOUS),
            subject.seen("three", Mode.PSEUDONYMOUS),
        )
    database, publisher = Database(url), FakePublisher()
    await database.open()
    assert await PostgresOutbox(database, publisher).drain() == 2
    await database.close()
    published = {one.outcome: one.facts for one in publisher.payloads if isinstance(one, Outcomes)}
    (clicked,), (opened,) = published["clicked"], published["opened"]
    assert (clicked.delivery, clicked.recipient) == (f"{subject.batch}.0", "r0@example.org")
    facts = {"url": LINK, "ip": "192.0.2.7", "id": "one", "mode": "full", "machine": "link-scanner"}
    assert clicked.data == facts
    assert (opened.delivery, opened.recipient, opened.data["mode"]) == ("", PSEUDONYM, "pseudonymous")


async def test_ids_are_remembered_and_the_new_ones_told(subject: Subject) -> None:
    async with subject.ledger.work() as work:
        assert set(await work.remember_engagements(["a", "b", "a"], NOW)) == {"a", "b"}
    async with subject.ledger.work() as work:
        assert set(await work.remember_engagements(["b", "c"], NOW)) == {"c"}
        assert set(await work.remember_engagements([], NOW)) == set()


async def test_ids_of_a_transaction_that_failed_are_not_remembered(subject: Subject) -> None:
    with contextlib.suppress(RuntimeError):
        async with subject.ledger.work() as work:
            await work.remember_engagements(["a"], NOW)
            raise RuntimeError
    async with subject.ledger.work() as work:
        assert set(await work.remember_engagements(["a"], NOW)) == {"a"}
