"""Large calls take turns: what one of them takes of memory and time is bounded for all of them together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kannon.core.errors import Unavailable

LARGE: Final = 1024**2
"""Octets of a request from which on a call is large."""
AT_ONCE: Final = 2
WAITING: Final = 8
"""More are sent away: they wait with all their octets in memory."""


class TooManyLargeCalls(Unavailable):
    """No large call can be taken now."""

    def __init__(self) -> None:
        super().__init__("too many large calls are being read", retry_after=2.0)


class LargeCalls:
    """Gives large calls their turns, in the order in which they came; small ones never wait."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._here = 0

    @asynccontextmanager
    async def turn(self, octets: int) -> AsyncIterator[None]:
        """Hold this while a call is worked on.

        Args:
            octets: of its request.

        Raises:
            TooManyLargeCalls: it is large, and too many others wait already.
        """
        if octets < LARGE:
            yield
            return
        if self._here >= AT_ONCE + WAITING:
            raise TooManyLargeCalls
        self._here += 1
        try:
            async with self._turns:
                yield
        finally:
            self._here -= 1
