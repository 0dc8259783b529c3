"""What every directory keeps to, the one in memory and the one in PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.core.errors import Conflict, LedgerUnavailable
from kannon.core.keys import SealBroken, open_sealed
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
    assert await directory.key("example.com", HASH) == KEY
    assert await directory.key("example.com", b"e" * 32) == ended
    assert await directory.key("example.com", b"x" * 32) is None
    assert await directory.key("example.org", HASH) is None


async def test_a_key_needs_its_domain(directory: Directory) -> None:
    with pytest.raises(Conflict, match=r"example\.com"):
        await directory.add_key(KEY, HASH)
    assert await directory.key("example.com", HASH) is None


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
