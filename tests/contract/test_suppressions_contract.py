"""What every store of suppressions keeps to, the one in memory and the one in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.outbox import PostgresOutbox
from kannon.adapters.postgres.suppressions import PostgresSuppressions
from kannon.core.payloads import SuppressionChanges
from kannon.core.suppression import Reason, Source, Suppression, merged
from kannon.ports import SuppressionFilter, Suppressions
from tests.fakes import FakePublisher
from tests.fakes_suppressions import FakeSuppressions
from tests.mail import NOW

DOMAINS = ("mail.example.com", "other.example.com")
DOMAIN = DOMAINS[0]
DAY = timedelta(days=1)


@dataclass
class Subject:
    """A store, and what it put into the outbox: what was done to which addresses."""

    store: Suppressions
    told: Callable[[], Awaitable[list[tuple[str, list[str]]]]]


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database where one is needed, else nothing."""
    return request.getfixturevalue("migrated_database") if request.param == "in PostgreSQL" else ""


@pytest.fixture
async def subject(url: str) -> AsyncIterator[Subject]:
    if not url:
        fake = FakeSuppressions()

        async def told_in_memory() -> list[tuple[str, list[str]]]:
            return [(change, [one.address]) for change, one in fake.told]

        yield Subject(fake, told_in_memory)
        return
    with psycopg.connect(url) as connection:
        connection.cursor().executemany(
            "INSERT INTO domains (name, dkim_private_key, dkim_public_key) VALUES (%s, '', '')",
            [(name,) for name in DOMAINS],
        )
    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        publisher = FakePublisher()
        outbox = PostgresOutbox(database, publisher)

        async def told() -> list[tuple[str, list[str]]]:
            await outbox.drain()
            changes = [one for one in publisher.payloads if isinstance(one, SuppressionChanges)]
            return [(one.change, [fact.address for fact in one.facts]) for one in changes]

        yield Subject(PostgresSuppressions(database), told)


def suppression(address: str = "ada@example.org", **changes: Any) -> Suppression:
    made = Suppression(
        DOMAIN, address, Reason.HARD_BOUNCE, Source.TRANSMISSION, NOW, NOW + 10 * DAY, "msg_7@d", "550 no"
    )
    return replace(made, **changes)


async def test_what_was_added_is_found_as_it_was_until_it_expires(subject: Subject) -> None:
    store, one = subject.store, suppression()
    assert not await store.any(DOMAIN)
    assert await store.add([one], NOW) == 1
    assert await store.any(DOMAIN)
    assert await store.suppression(DOMAIN, one.address, NOW + 9 * DAY) == one
    wanted = ["bea@example.org", one.address]
    assert await store.reasons(DOMAIN, wanted, NOW) == {one.address: Reason.HARD_BOUNCE}
    after = NOW + 10 * DAY
    assert await store.suppression(DOMAIN, one.address, after) is None
    assert await store.reasons(DOMAIN, wanted, after) == {}
    assert not (await store.page(SuppressionFilter(DOMAIN), "", 10, after)).suppressions
    assert await store.remove(DOMAIN, one.address, after) is None


async def test_one_domain_knows_nothing_of_another(subject: Subject) -> None:
    store, one = subject.store, suppression()
    await store.add([one], NOW)
    other = DOMAINS[1]
    assert not await store.any(other)
    assert await store.reasons(other, [one.address], NOW) == {}
    assert await store.suppression(other, one.address, NOW) is None
    assert await store.remove(other, one.address, NOW) is None
    assert not (await store.page(SuppressionFilter(other), "", 10, NOW)).suppressions


async def test_what_changes_is_told_and_nothing_else(subject: Subject) -> None:
    store, one = subject.store, suppression()
    weaker = replace(one, reason=Reason.SOFT_BOUNCE, expires_at=NOW + DAY)
    for new, changed in (
        (one, 1),
        (one, 0),
        (weaker, 0),
        (replace(one, expires_at=None), 1),
        (replace(one, reason=Reason.COMPLAINT), 1),
    ):
        assert await store.add([new, new], NOW) == changed
    removed = await store.remove(DOMAIN, one.address, NOW)
    assert removed == replace(one, reason=Reason.COMPLAINT, expires_at=None)
    assert await store.remove(DOMAIN, one.address, NOW) is None
    assert await subject.told() == [("added", [one.address])] * 3 + [("removed", [one.address])]


SUPPRESSIONS = st.builds(
    suppression,
    reason=st.sampled_from(Reason),
    source=st.sampled_from(Source),
    created_at=st.integers(0, 9).map(lambda days: NOW + days * DAY),
    expires_at=st.none() | st.integers(1, 20).map(lambda days: NOW + days * DAY),
    detail=st.sampled_from("abc"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(known=SUPPRESSIONS, new=SUPPRESSIONS, days=st.integers(0, 20))
async def test_any_two_are_merged_as_core_says(
    subject: Subject, known: Suppression, new: Suppression, days: int
) -> None:
    store, now = subject.store, NOW + days * DAY
    await store.add([known], NOW)
    await store.add([new], now)
    expected = merged(known, new, now) if new.holds(now) else known
    found = await store.suppression(DOMAIN, known.address, NOW)
    assert found == expected
    await store.remove(DOMAIN, known.address, datetime(1, 1, 1, tzinfo=NOW.tzinfo))


async def test_pages_go_by_address_and_each_is_on_one_of_them(subject: Subject) -> None:
    store = subject.store
    addresses = sorted(
        ["a@x.org", "ada@x.org", "adb@x.org", "b_c@x.org", "ba@x.org", "zoë@x.org", "ädü@x.org"]
    )
    await store.add([suppression(address) for address in addresses], NOW)

    async def listed(take: int, **changes: Any) -> list[str]:
        found, after = [], ""
        while True:
            page = await store.page(SuppressionFilter(DOMAIN, **changes), after, take, NOW)
            found += [one.address for one in page.suppressions]
            if not page.next:
                return found
            after = page.next

    for take in (1, 2, 3, 7, 8):
        assert await listed(take) == addresses
    assert await listed(2, prefix="ad") == ["ada@x.org", "adb@x.org"]
    assert await listed(2, prefix="b_") == ["b_c@x.org"]
    assert await listed(2, prefix="ä") == ["ädü@x.org"]
    assert await listed(2, reason=Reason.COMPLAINT) == []
    await store.add([suppression("ba@x.org", reason=Reason.COMPLAINT, created_at=NOW + DAY)], NOW)
    assert await listed(2, reason=Reason.COMPLAINT) == ["ba@x.org"]
    assert await listed(2, since=NOW + DAY) == ["ba@x.org"]
