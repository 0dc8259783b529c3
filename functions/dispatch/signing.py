"""The keys of tracking tokens, kept at hand."""

from datetime import datetime, timedelta
from typing import Final

from kannon.core.tracking.claims import Claims
from kannon.core.tracking.keys import KNOWN_WITHIN, KeyRing
from kannon.ports import Clock, SigningKeys

READ_AGAIN_AFTER: Final[timedelta] = KNOWN_WITHIN / 2


class TokenSigner:
    """Signs with what it read last. Keys are made so far ahead that none is missed by that."""

    def __init__(self, keys: SigningKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._ring: KeyRing | None = None
        self._read_at: datetime | None = None

    async def ready(self) -> None:
        """Have keys that are not too old, before anything is signed; the first key is made here, if there
        is none. Raises LedgerUnavailable."""
        now = self._clock()
        if self._read_at is None or not timedelta(0) <= now - self._read_at < READ_AGAIN_AFTER:
            await self._read(now)

    async def rotate(self) -> None:
        """Make the next key when it is time, and forget old ones; raises LedgerUnavailable."""
        await self._keys.rotate(self._clock())

    def mint(self, claims: Claims) -> str:
        """The token that says `claims`; as `KeyRing.mint`, from any thread."""
        assert self._ring is not None, "ready() comes before"
        return self._ring.mint(claims)

    async def _read(self, now: datetime) -> None:
        keys = await self._keys.signing_keys()
        if not keys:
            await self._keys.rotate(now)
            keys = await self._keys.signing_keys()
        self._ring, self._read_at = KeyRing(keys), now
