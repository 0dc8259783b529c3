"""Tokens read by the keys of the moment: new keys are found, made-up ones cost little."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from kannon.core.errors import LedgerUnavailable
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.keys import KEY_LIFE, MADE_AHEAD, TOKEN_LIFE, KeyRing
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import BadToken, SigningKey
from kannon.runtime.token_reading import LOOK_AGAIN_AFTER, CurrentTokens
from tests.fakes_tracking_keys import FakeTrackingKeys
from tests.mail import NOW

HOST = "stats.example.com"


def claims(of: datetime = NOW) -> Claims:
    return Claims(Audience.OPEN, "example.com", Mode.IDENTIFIED, 42, int((of + TOKEN_LIFE).timestamp()), 7)


async def token(keys: FakeTrackingKeys, of: datetime = NOW) -> str:
    return KeyRing(await keys.signing_keys()).mint(claims(of))


async def keys_of(now: datetime = NOW) -> FakeTrackingKeys:
    keys = FakeTrackingKeys()
    await keys.rotate(now)
    return keys


async def read(tokens: CurrentTokens, text: str, now: datetime = NOW) -> Claims:
    return await tokens.read(text, Audience.OPEN, HOST, now)


async def test_a_key_that_is_known_needs_no_database() -> None:
    keys = await keys_of()
    text, tokens = await token(keys), CurrentTokens(keys)
    await tokens.start(NOW)
    keys.away = True
    assert await read(tokens, text) == claims()
    assert await read(tokens, text, NOW + KEY_LIFE) == claims()


async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    keys = await keys_of()
    tokens = CurrentTokens(keys)
    await tokens.start(NOW)
    await keys.rotate(NOW + KEY_LIFE - MADE_AHEAD)
    later = NOW + KEY_LIFE
    assert await read(tokens, await token(keys, later), later) == claims(later)
    assert await read(tokens, await token(keys), later) == claims()


async def test_it_starts_while_the_database_is_away_and_says_so_of_tokens_until_then() -> None:
    keys = await keys_of()
    text, tokens = await token(keys), CurrentTokens(keys)
    keys.away = True
    await tokens.start(NOW)
    with pytest.raises(LedgerUnavailable):
        await read(tokens, text)
    keys.away = False
    with pytest.raises(LedgerUnavailable, match="some seconds ago"):
        await read(tokens, text)
    assert await read(tokens, text, NOW + LOOK_AGAIN_AFTER) == claims()


async def test_what_is_no_token_is_refused_though_the_database_is_away() -> None:
    keys = await keys_of()
    keys.away = True
    with pytest.raises(BadToken):
        await read(CurrentTokens(keys), "no token")
    assert keys.looks == 0


async def test_made_up_keys_are_looked_for_now_and_then() -> None:
    keys = await keys_of()
    tokens = CurrentTokens(keys)
    await tokens.start(NOW)
    for second in range(25):
        made_up = SigningKey(f"made-up-{second}", bytes(32)).mint(claims())
        with pytest.raises(BadToken):
            await read(tokens, made_up, NOW + timedelta(seconds=second))
    assert keys.looks == 3


async def test_many_tokens_of_a_new_key_wait_for_one_look() -> None:
    keys = await keys_of()
    looking = SlowKeys(keys)
    tokens, text = CurrentTokens(looking), await token(keys)
    reading = [asyncio.create_task(read(tokens, text)) for _ in range(50)]
    await asyncio.sleep(0)
    looking.go.set()
    assert await asyncio.gather(*reading) == [claims()] * 50
    assert looking.looks == 1


class SlowKeys:
    """Answers once it may."""

    def __init__(self, keys: FakeTrackingKeys) -> None:
        self.keys, self.go, self.looks = keys, asyncio.Event(), 0

    async def public_keys(self) -> Mapping[str, bytes]:
        """See `ports.PublicKeys`."""
        self.looks += 1
        await self.go.wait()
        return await self.keys.public_keys()
