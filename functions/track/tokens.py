"""Reads tokens by the keys that are known, and looks for those that are not."""

import asyncio
import time
from datetime import datetime
from typing import Final

from kannon.core.errors import Unavailable
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.tokens import TokenReader
from kannon.ports import PublicKeys

LOOK_EVERY: Final = 5.0
"""Seconds between two looks for keys at the least: anybody can write a token with a key that there is not."""
FIRST_PATIENCE: Final = 3.0
"""Seconds that a request waits for a look."""


class Tokens:
    """The keys of the installation, as they were when it was looked for them last."""

    def __init__(self, keys: PublicKeys) -> None:
        self._keys = keys
        self._reader = TokenReader({})
        self._looked_at = float("-inf")
        self._trouble: Unavailable | None = None
        self._looking: asyncio.Task[None] | None = None

    def read(self, token: str, audience: Audience, host: str, now: datetime) -> Claims:
        """As `TokenReader.read`; raises UnknownKey where a look may help."""
        return self._reader.read(token, audience, host, now)

    async def look(self) -> None:
        """Look for keys that are not known, if that was not done just now.

        Raises:
            Unavailable: they cannot be looked for.
        """
        if self._looking is None and time.monotonic() - self._looked_at >= LOOK_EVERY:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=FIRST_PATIENCE)
        if self._looking is not None:
            raise Unavailable("the keys of tokens do not come")
        if self._trouble is not None:
            raise self._trouble

    async def _look(self) -> None:
        try:
            self._reader = TokenReader(await self._keys.public_keys())
            self._trouble = None
        except Unavailable as error:
            self._trouble = error
        finally:
            self._looked_at = time.monotonic()
            self._looking = None
