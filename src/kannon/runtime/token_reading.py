"""Tracking tokens, read by the public keys that there are at present."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final

from kannon.core.errors import LedgerUnavailable
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.tokens import TokenReader, UnknownKey
from kannon.ports import PublicKeys

LOOK_AGAIN_AFTER: Final = timedelta(seconds=10)
log = logging.getLogger(__name__)


class CurrentTokens:
    """Reads tokens. Keys are remembered: those that it has it needs no database for.

    They are looked up again when a token names one that it does not have. Anybody can make up such names, so
    that is done once in ten seconds and no more.
    """

    def __init__(self, keys: PublicKeys) -> None:
        self._keys = keys
        self._reader = TokenReader({})
        self._looked_at: datetime | None = None
        self._is_known = False
        self._looking = asyncio.Lock()

    async def read(self, token: str, audience: Audience, host: str, now: datetime) -> Claims:
        """What a token says, as `TokenReader.read`.

        Raises:
            BadToken: it is none.
            LedgerUnavailable: the key that it names cannot be looked for now.
        """
        try:
            return self._reader.read(token, audience, host, now)
        except UnknownKey:
            await self._look(now)
            return self._reader.read(token, audience, host, now)

    async def start(self, now: datetime) -> None:
        """Read the keys before there is a token to read; if they cannot be read now, the first token asks."""
        try:
            await self._look(now)
        except LedgerUnavailable as error:
            log.warning("the keys of tokens cannot be read yet", extra={"reason": str(error)})

    async def _look(self, now: datetime) -> None:
        """Have the keys of the last ten seconds; raises LedgerUnavailable if these could not be read."""
        async with self._looking:  # who comes meanwhile has what this one finds
            if self._looked_at is None or not timedelta(0) <= now - self._looked_at < LOOK_AGAIN_AFTER:
                self._looked_at, self._is_known = now, False
                self._reader = TokenReader(await self._keys.public_keys())
                self._is_known = True
            if not self._is_known:
                raise LedgerUnavailable("the keys of tokens could not be read some seconds ago")
