"""What every directory keeps to, the one in memory and the one in PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.core.access import Role
from kannon.core.errors import Conflict, LedgerUnavailable
from kannon.core.keys import SealBroken, open_sealed
from kannon.core.limits import OwnLimits
from kannon.core.tracking.policy import DEFAULT_POLICY, Mode, Policy
from kannon.ports import Directory, KeyRecord
from tests.fakes_gateway import FakeDirectory

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SEALING_KEY = b"d" * 32
PRIVATE_KEY = b"a private key"
KEY = KeyRecord("key_1", "k_abcdef", "billing", "example.com", NOW, NOW + timedelta(days=1), None)
HASH = b"h" * 32


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def directory(request: pytest.FixtureRequest) -> Directory:
    if request.param == "fake":
        return FakeDirectory()
    return PostgresDirectory(request.getfixturevalue("database"), SEALING_KEY)


async def test_a_domain_that_was_added_is_found(directory: Directory) -> None:
    added = await directory.add_domain("example.com", PRIVATE_KEY, "public")
    assert (added.name, added.dkim_public_key) == ("example.com", "public")
    assert abs(datetime.now(UTC) - added.created_at) < timedelta(minutes=1)
    assert await directory.domain("example.com") == added
    assert await directory.domain("example.org") is None


async def test_a_domain_is_added_once(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    with pytest.raises(Conflict, match=r"example\.com"):
        await directory.add_domain("example.com", b"another", "other")
    found = await directory.domain("example.com")
    assert found
    assert found.dkim_public_key == "public"


async def test_a_domain_allows_what_it_was_told_last_and_identified_before(directory: Directory) -> None:
    added = await directory.add_domain("example.com", PRIVATE_KEY, "public")
    other = await directory.add_domain("example.org", PRIVATE_KEY, "public")
    assert added.tracking == DEFAULT_POLICY
    for policy in (Policy(Mode.FULL, Mode.OFF), Policy(Mode.OFF, Mode.ANONYMOUS)):
        changed = await directory.set_tracking("example.com", policy)
        assert changed == replace(added, tracking=policy) == await directory.domain("example.com")
    assert await directory.domains() == [changed, other]


async def test_a_domain_that_is_not_there_is_told_nothing(directory: Directory) -> None:
    assert await directory.set_tracking("example.com", DEFAULT_POLICY) is None
    assert await directory.domain("example.com") is None


async def test_domains_come_by_name(directory: Directory) -> None:
    names = ["b.test", "a-b.test", "ab.test", "a.test", "xn--bcher-kva.de"]
    for name in names:
        await directory.add_domain(name, PRIVATE_KEY, "public")
    assert [record.name for record in await directory.domains()] == sorted(names)


async def test_a_key_is_found_by_domain_and_hash_whatever_its_state(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    await directory.add_domain("example.org", PRIVATE_KEY, "public")
    ended = replace(KEY, id="key_2", expires_at=None, deactivated_at=NOW)
    await directory.add_key(KEY, HASH)
    await directory.add_key(ended, b"e" * 32)
    assert await directory.key("example.com", HASH) == (KEY, OwnLimits())
    assert await directory.key("example.com", b"e" * 32) == (ended, OwnLimits())
    assert await directory.key("example.com", b"x" * 32) is None
    assert await directory.key("example.org", HASH) is None


async def test_a_key_needs_its_domain(directory: Directory) -> None:
    with pytest.raises(Conflict, match=r"example\.com"):
        await directory.add_key(KEY, HASH)
    assert await directory.key("example.com", HASH) is None


async def test_a_key_is_found_by_its_name_in_its_own_domain(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    await directory.add_domain("example.org", PRIVATE_KEY, "public")
    await directory.add_key(KEY, HASH)
    assert await directory.key_named("example.com", "key_1") == KEY
    assert await directory.key_named("example.com", "key_2") is None
    assert await directory.key_named("example.org", "key_1") is None


async def test_keys_come_newest_first_and_page_by_page(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    await directory.add_domain("example.org", PRIVATE_KEY, "public")
    # Made at the same moment: then by their ids, whatever the database's collation.
    twins = [replace(KEY, id=f"key_{sign}", created_at=NOW) for sign in "BaCb"]
    older = replace(KEY, id="key_0", created_at=NOW - timedelta(days=1))
    foreign = replace(KEY, id="key_x", domain="example.org")
    for number, record in enumerate([older, *twins, foreign]):
        await directory.add_key(record, bytes([number]) * 32)
    found: list[KeyRecord] = []
    for skip in range(0, 6, 2):
        total, page = await directory.keys("example.com", skip, 2)
        assert total == 5
        found.extend(page)
    assert [record.id for record in found] == ["key_B", "key_C", "key_a", "key_b", "key_0"]
    assert found[-1] == older
    assert await directory.keys("example.com", 5, 2) == (5, [])
    assert await directory.keys("example.net", 0, 2) == (0, [])


async def test_keys_that_ended_can_be_left_out(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    records = [
        replace(KEY, id="key_1", expires_at=None),
        replace(KEY, id="key_2", expires_at=NOW + timedelta(seconds=1)),
        replace(KEY, id="key_3", expires_at=NOW),
        replace(KEY, id="key_4", expires_at=None, deactivated_at=NOW),
    ]
    for number, record in enumerate(records):
        await directory.add_key(record, bytes([number]) * 32)
    total, active = await directory.keys("example.com", 0, 10, active_at=NOW)
    assert (total, [record.id for record in active]) == (2, ["key_1", "key_2"])
    assert (await directory.keys("example.com", 0, 10))[0] == 4


async def test_a_key_is_deactivated_for_good_and_keeps_the_time_of_the_first(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    await directory.add_domain("example.org", PRIVATE_KEY, "public")
    await directory.add_key(KEY, HASH)
    await directory.add_key(replace(KEY, id="key_2"), b"o" * 32)
    assert await directory.deactivate_key("example.org", "key_1", NOW) is None
    assert await directory.deactivate_key("example.com", "key_3", NOW) is None
    ended = replace(KEY, deactivated_at=NOW)
    assert await directory.deactivate_key("example.com", "key_1", NOW) == ended
    assert await directory.deactivate_key("example.com", "key_1", NOW + timedelta(hours=1)) == ended
    assert await directory.key("example.com", HASH) == (ended, OwnLimits())
    other = await directory.key_named("example.com", "key_2")
    assert other
    assert other.deactivated_at is None


async def test_private_keys_are_sealed_for_their_domain(database: Database, migrated_database: str) -> None:
    await PostgresDirectory(database, SEALING_KEY).add_domain("example.com", PRIVATE_KEY, "public")
    with psycopg.connect(migrated_database) as connection:
        row = connection.execute("SELECT dkim_private_key FROM domains").fetchone()
    assert row
    assert PRIVATE_KEY not in row[0]
    assert open_sealed(SEALING_KEY, row[0], "example.com") == PRIVATE_KEY
    with pytest.raises(SealBroken):
        open_sealed(SEALING_KEY, row[0], "example.org")


async def test_away_is_said() -> None:
    directory = PostgresDirectory(Database("postgresql://127.0.0.1:1/none"), SEALING_KEY)
    with pytest.raises(LedgerUnavailable):
        await directory.domain("example.com")


async def test_a_key_keeps_its_role(directory: Directory) -> None:
    await directory.add_domain("example.com", PRIVATE_KEY, "public")
    for number, role in enumerate(Role):
        key = replace(KEY, id=f"key_{role}", role=role)
        await directory.add_key(key, bytes([number]) * 32)
        assert await directory.key("example.com", bytes([number]) * 32) == (key, OwnLimits())
        assert await directory.key_named("example.com", key.id) == key
        ended = await directory.deactivate_key("example.com", key.id, NOW)
        assert ended
        assert ended.role is role
    _, listed = await directory.keys("example.com", 0, 10)
    assert {key.role for key in listed} == set(Role)


async def test_limits_are_a_domains_own_and_come_with_its_keys(directory: Directory) -> None:
    for name in ("example.com", "example.org"):
        await directory.add_domain(name, PRIVATE_KEY, "public")
    await directory.add_key(KEY, HASH)
    assert await directory.limits("example.com") == OwnLimits()
    largest = OwnLimits(0, 2**32 - 1, None)
    assert await directory.set_limits("example.com", largest)
    assert await directory.limits("example.com") == largest
    assert await directory.key("example.com", HASH) == (KEY, largest)
    assert await directory.limits("example.org") == OwnLimits()
    assert await directory.set_limits("example.com", OwnLimits())
    assert await directory.limits("example.com") == OwnLimits()


async def test_an_unknown_domain_has_no_limits(directory: Directory) -> None:
    assert await directory.limits("example.com") is None
    assert not await directory.set_limits("example.com", OwnLimits(1, 1, 1))
