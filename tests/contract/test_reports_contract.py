"""What everything that keeps reports and shows them keeps to, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.reports import PostgresReports
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import ReportJudged
from kannon.core.reports.values import Kind
from kannon.ports import REPORTS_KEPT, REPORTS_KEPT_FOR, Ledger, Reports
from tests.fakes_ledger import FakeLedger
from tests.fakes_reports import FakeReports
from tests.mail import DOMAIN, NOW
from tests.reports import failed, judged

OTHER = "other.example"
HOUR = timedelta(hours=1)


@dataclass
class Subject:
    """Reports, and the ledger that keeps them."""

    reports: Reports
    ledger: Ledger

    async def keep(self, *reports: ReportJudged, domain: str = DOMAIN) -> list[bool]:
        """Keep them; tells of each whether it was new."""
        new = []
        for report in reports:
            async with self.ledger.work() as work:
                new.append(await work.keep_report(report, domain))
        return new

    async def reasons(self, kind: Kind | None = None, domain: str = "") -> list[str]:
        """What is listed, by the reasons by which the tests tell reports apart."""
        return [record.reason for record in await self.reports.page(kind, domain, None, 10_000)]


def named(name: str, kind: Kind = Kind.UNRECOGNISED, **changes: object) -> ReportJudged:
    return judged(kind, reason=name, digest=name, **changes)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Subject]:
    database = Database(url)
    await database.open()
    yield Subject(PostgresReports(database), PostgresLedger(database))
    await database.close()


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database where one is needed, else nothing."""
    return request.getfixturevalue("migrated_database") if request.param == "in PostgreSQL" else ""


@pytest.fixture
async def subject(url: str) -> AsyncIterator[Subject]:
    if not url:
        ledger = FakeLedger()
        yield Subject(FakeReports(ledger), ledger)
        return
    async with opened(url) as subject:
        yield subject


async def test_a_report_is_shown_as_it_was_kept(subject: Subject) -> None:
    report = judged(Kind.BOUNCE, failed("ü@bücher.example"), sender="a@b.example")
    await subject.keep(report, domain=OTHER)
    (record,) = await subject.reports.page(None, "", None, 10)
    assert (record.at, record.kind, record.domain, record.size) == (NOW, Kind.BOUNCE, OTHER, 22)
    assert (record.recipients, record.deliveries) == (report.recipients, report.deliveries)
    assert (record.told, record.sender, record.client) == (report.told, "a@b.example", "192.0.2.1")
    assert await subject.reports.report(record.number) == (record, report.head)


async def test_one_that_is_not_there_is_none(subject: Subject) -> None:
    assert [await subject.reports.report(number) for number in (1, 2**64 - 1)] == [None, None]


async def test_the_same_report_is_kept_and_counted_once(subject: Subject) -> None:
    once_more = named("a", client="192.0.2.77", at=NOW + HOUR)
    assert await subject.keep(named("a"), once_more) == [True, False]
    assert await subject.reasons() == ["a"]
    assert await subject.reports.counts("", NOW) == {Kind.UNRECOGNISED: 1}


async def test_the_newest_come_first_page_by_page(subject: Subject) -> None:
    await subject.keep(*(named(name) for name in "abc"))
    first = await subject.reports.page(None, "", None, 2)
    second = await subject.reports.page(None, "", first[-1].number, 2)
    assert [record.reason for record in (*first, *second)] == ["c", "b", "a"]


async def test_those_of_a_kind_or_of_a_domain(subject: Subject) -> None:
    await subject.keep(named("a", Kind.BOUNCE), named("b"))
    await subject.keep(named("c", Kind.BOUNCE), domain=OTHER)
    assert await subject.reasons(Kind.BOUNCE) == ["c", "a"]
    assert await subject.reasons(domain=DOMAIN) == ["b", "a"]
    assert await subject.reasons(Kind.BOUNCE, OTHER) == ["c"]


async def test_counts_by_kind_from_an_hour_on(subject: Subject) -> None:
    await subject.keep(named("a", at=NOW - HOUR), named("b"), named("c"), named("d", Kind.AUTO_REPLY))
    await subject.keep(named("e"), domain=OTHER)
    middle = NOW + timedelta(minutes=30)
    assert await subject.reports.counts("", middle) == {Kind.UNRECOGNISED: 3, Kind.AUTO_REPLY: 1}
    assert await subject.reports.counts(DOMAIN, NOW - HOUR) == {Kind.UNRECOGNISED: 3, Kind.AUTO_REPLY: 1}
    assert await subject.reports.counts("nobody.example", NOW) == {}


async def test_what_fails_in_the_middle_keeps_no_report(subject: Subject) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what is tested
        async with subject.ledger.work() as work:
            await work.keep_report(named("a"), DOMAIN)
            raise RuntimeError
    assert await subject.reasons() == []
    assert await subject.reports.counts("", NOW) == {}


async def test_the_newest_of_each_kind_stay_and_what_is_old_goes(migrated_database: str) -> None:
    async with opened(migrated_database) as subject:
        await subject.keep(*(named(f"k{at}") for at in range(3)), named("b", Kind.BOUNCE))
        kept = "SELECT count(*), min(reason) FROM reports WHERE kind = 'unrecognised'"
        with psycopg.connect(migrated_database, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO reports (identity, at, kind, reason, domain, recipients, deliveries, told,"
                " sender, client, size, head) SELECT 'flood' || n, now(), 'unrecognised', 'x', '', '[]',"
                " '[]', '[]', '', '', 0, '' FROM generate_series(1, %s) AS n",
                (REPORTS_KEPT - 1,),
            )
            ledger = subject.ledger
            assert isinstance(ledger, PostgresLedger)
            (now,) = connection.execute("SELECT now()").fetchone() or (NOW,)
            assert [await ledger.forget_reports(1, now) for _ in range(3)] == [1, 1, 0]
            assert connection.execute(kept).fetchone() == (REPORTS_KEPT, "k2")
            later = now + REPORTS_KEPT_FOR + HOUR
            assert await ledger.forget_reports(10, later) == 10
            while await ledger.forget_reports(REPORTS_KEPT, later):
                pass
        assert await subject.reasons() == []
        assert await subject.reports.counts("", NOW) == {Kind.UNRECOGNISED: 3, Kind.BOUNCE: 1}


async def test_away_is_said() -> None:
    fake, real = FakeReports(FakeLedger(away=True)), PostgresReports(Database("postgresql://127.0.0.1:1/x"))
    for asked in (reports.page(None, "", None, 1) for reports in (fake, real)):
        with pytest.raises(LedgerUnavailable):
            await asked
    for sought in (reports.report(1) for reports in (fake, real)):
        with pytest.raises(LedgerUnavailable):
            await sought
    for counted in (reports.counts("", NOW) for reports in (fake, real)):
        with pytest.raises(LedgerUnavailable):
            await counted
