"""What every store of the keys of tracking tokens keeps to, the one in memory and the one in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.tracking_keys import PostgresTrackingKeys
from kannon.core.keys import SealBroken
from kannon.core.tracking.keys import KEY_LIFE, KNOWN_WITHIN, MADE_AHEAD, TOKEN_LIFE
from kannon.core.tracking.tokens import SigningKey
from kannon.ports import PublicKeys, SigningKeys
from tests.fakes_tracking_keys import FakeTrackingKeys

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SEALING_KEY = b"t" * 32


class Store(SigningKeys, PublicKeys, Protocol):
    """Both sides of it."""


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database(migrated_database)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "fake":
        return FakeTrackingKeys()
    return PostgresTrackingKeys(request.getfixturevalue("database"), SEALING_KEY)


async def starts(store: Store) -> list[datetime]:
    return [key.start for key in await store.signing_keys()]


async def test_there_is_none_before_the_first_is_made(store: Store) -> None:
    assert await store.signing_keys() == []
    assert await store.public_keys() == {}


async def test_the_first_signs_at_once(store: Store) -> None:
    assert await store.rotate(NOW)
    assert await starts(store) == [NOW]


async def test_each_key_has_its_public_half(store: Store) -> None:
    await store.rotate(NOW)
    await store.rotate(NOW + KEY_LIFE)
    keys = await store.signing_keys()
    assert len({key.kid for key in keys}) == len({key.seed for key in keys}) == 2
    assert await store.public_keys() == {key.kid: SigningKey(key.kid, key.seed).public for key in keys}


async def test_the_next_is_made_ahead_and_once(store: Store) -> None:
    await store.rotate(NOW)
    due = NOW + KEY_LIFE - MADE_AHEAD
    assert not await store.rotate(due - timedelta(seconds=1))
    assert await store.rotate(due)
    assert not await store.rotate(due)
    assert not await store.rotate(NOW + KEY_LIFE)
    assert await starts(store) == [NOW, NOW + KEY_LIFE]


async def test_one_that_comes_late_does_not_sign_before_all_have_it(store: Store) -> None:
    await store.rotate(NOW)
    late = NOW + KEY_LIFE + timedelta(days=70)
    assert await store.rotate(late)
    assert await starts(store) == [NOW, late + KNOWN_WITHIN]


async def test_a_key_is_kept_for_as_long_as_its_tokens_live(store: Store) -> None:
    await store.rotate(NOW)
    await store.rotate(NOW + KEY_LIFE - MADE_AHEAD)
    over = NOW + KEY_LIFE + TOKEN_LIFE
    await store.rotate(over - timedelta(seconds=1))
    assert NOW in await starts(store)
    await store.rotate(over)
    assert NOW not in await starts(store)
    assert len(await store.public_keys()) == len(await store.signing_keys())


async def test_one_that_signed_until_a_late_successor_came_is_kept_longer(store: Store) -> None:
    await store.rotate(NOW)
    late = NOW + KEY_LIFE + timedelta(days=70)
    await store.rotate(late)
    over = late + KNOWN_WITHIN + TOKEN_LIFE
    await store.rotate(over - timedelta(seconds=1))
    assert NOW in await starts(store)
    await store.rotate(over)
    assert NOW not in await starts(store)


async def test_after_the_longest_pause_there_is_still_a_key_to_sign_with(store: Store) -> None:
    await store.rotate(NOW)
    (first,) = await store.signing_keys()
    years_later = NOW + timedelta(days=1000)
    await store.rotate(years_later)
    assert [first.start, years_later + KNOWN_WITHIN] == await starts(store)


async def test_several_at_once_make_one_key(store: Store) -> None:
    for now in (NOW, NOW + KEY_LIFE):
        made = await asyncio.gather(*(store.rotate(now) for _ in range(4)))
        assert made.count(True) == 1
    assert len(await store.signing_keys()) == 2


async def test_private_halves_are_sealed(database: Database, migrated_database: str) -> None:
    store = PostgresTrackingKeys(database, SEALING_KEY)
    await store.rotate(NOW)
    (key,) = await store.signing_keys()
    with psycopg.connect(migrated_database) as connection:
        row = connection.execute("SELECT * FROM stats_keys").fetchone()
    assert row
    assert not any(key.seed in bytes(value) for value in row if isinstance(value, bytes))
    with pytest.raises(SealBroken, match="K_SECRET"):
        await PostgresTrackingKeys(database, b"x" * 32).signing_keys()
    assert key.kid in await PostgresTrackingKeys(database).public_keys()


async def test_a_private_half_opens_under_its_own_id_alone(
    database: Database, migrated_database: str
) -> None:
    store = PostgresTrackingKeys(database, SEALING_KEY)
    await store.rotate(NOW)
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE stats_keys SET kid = 'another'")
    with pytest.raises(SealBroken):
        await store.signing_keys()
