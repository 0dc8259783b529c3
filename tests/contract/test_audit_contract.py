"""What every audit trail keeps to, the one in memory and the one in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kannon.adapters.postgres.audit import PostgresAuditTrail
from kannon.adapters.postgres.connection import Database
from kannon.core.audit import AuditRecord, Decision
from kannon.ports import AuditFilter, AuditTrail
from tests.fakes_audit import FakeAuditTrail

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LOOKED_AT = 10
RECORD = AuditRecord(
    at=NOW,
    procedure="pkg.kannon.mailer.apiv1.Mailer/SendHTML",
    decision=Decision.ALLOWED,
    reason="",
    domain="example.com",
    key_id="key_1",
    role="sender",
    client="2001:db8::1",
    attribution='billing "Ünï" \\',
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
FAILURE = replace(
    RECORD, decision=Decision.UNAUTHENTICATED, reason="unknown key", key_id="", role="", count=7
)


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def trail(request: pytest.FixtureRequest) -> AuditTrail:
    if request.param == "fake":
        return FakeAuditTrail(looked_at=LOOKED_AT)
    return PostgresAuditTrail(request.getfixturevalue("database"), looked_at=LOOKED_AT)


async def listed(trail: AuditTrail, wanted: AuditFilter, take: int = 3) -> list[AuditRecord]:
    """All pages."""
    found: list[AuditRecord] = []
    before = None
    while True:
        page = await trail.page(wanted, before, take)
        found.extend(record for _, record in page.records)
        assert len(page.records) <= take
        if page.next is None:
            return found
        before = page.next


def some(count: int) -> Sequence[AuditRecord]:
    """Records, newest last, three of each second."""
    return [replace(RECORD, at=NOW + (number // 3) * SECOND, trace=str(number)) for number in range(count)]


async def test_records_come_back_as_they_are_newest_first(trail: AuditTrail) -> None:
    await trail.write([RECORD, replace(FAILURE, at=NOW + SECOND)])
    await trail.write([replace(RECORD, at=NOW - SECOND)])
    assert await listed(trail, AuditFilter()) == [
        replace(FAILURE, at=NOW + SECOND),
        RECORD,
        replace(RECORD, at=NOW - SECOND),
    ]


async def test_pages_never_overlap_and_leave_nothing_out(trail: AuditTrail) -> None:
    written = some(30)
    await trail.write(written)
    for take in (1, 3, 4, 9, 10, 11, 30):
        found = await listed(trail, AuditFilter(), take)
        assert sorted(found, key=lambda one: int(one.trace)) == written
        assert [one.at for one in found] == sorted((one.at for one in written), reverse=True)


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        (AuditFilter(domain="example.org"), {"domain": "example.org"}),
        (AuditFilter(procedure="Api/GetDomain"), {"procedure": "pkg.kannon.admin.apiv1.Api/GetDomain"}),
        (AuditFilter(decision=Decision.DENIED), {"decision": Decision.DENIED}),
        (AuditFilter(key_id="key_2"), {"key_id": "key_2"}),
        (AuditFilter(client="192.0.2.1"), {"client": "192.0.2.1"}),
        (AuditFilter(since=NOW + SECOND), {"at": NOW + SECOND}),
        (AuditFilter(until=NOW), {"at": NOW - timedelta(microseconds=1)}),
    ],
)
async def test_what_is_wanted_is_found_among_many(
    trail: AuditTrail, wanted: AuditFilter, matching: dict[str, object]
) -> None:
    match = replace(RECORD, **matching)  # type: ignore[arg-type]
    await trail.write([match, *[RECORD] * 25])
    assert await listed(trail, wanted) == [match]


async def test_a_page_looks_at_a_bounded_number(trail: AuditTrail) -> None:
    await trail.write([FAILURE, *[replace(RECORD, at=NOW + SECOND)] * LOOKED_AT])
    page = await trail.page(AuditFilter(decision=Decision.UNAUTHENTICATED), None, 3)
    assert not page.records
    assert page.next
    page = await trail.page(AuditFilter(decision=Decision.UNAUTHENTICATED), page.next, 3)
    assert [record for _, record in page.records] == [FAILURE]


async def test_what_is_old_is_forgotten_some_at_a_time(trail: AuditTrail) -> None:
    await trail.write(some(9))
    assert await trail.forget(2, NOW + SECOND) == 2
    assert await trail.forget(2, NOW + SECOND) == 1
    assert await trail.forget(2, NOW + SECOND) == 0
    assert {one.at for one in await listed(trail, AuditFilter())} == {NOW + SECOND, NOW + 2 * SECOND}


async def test_many_are_written_at_once(trail: AuditTrail) -> None:
    await trail.write(some(3_000))
    page = await trail.page(AuditFilter(), None, 1)
    assert int(page.records[0][1].trace) >= 2_997
