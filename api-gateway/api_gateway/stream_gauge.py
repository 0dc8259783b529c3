"""Whether the verify stream has room, without asking NATS at every call."""

import asyncio
import logging
import time
from collections.abc import Callable

from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import BatchAccepted, RecipientsVerified
from kannon.ports import StreamRoom

FULL_ENOUGH = 0.5
"""Above this, what is accepted waits in the ledger."""
FRESH_SECONDS = 0.5
STALE_SECONDS = 10.0
LITTLE = 20
"""Chunks that wait for verify or for dispatch's first look: two thousand Recipients, a second of work."""
ANSWER_SECONDS = 2.0

log = logging.getLogger(__name__)


class StreamGauge:
    """Remembers how full the stream is. Good news is believed for a while, and asked about again meanwhile,
    so that hardly a call waits for NATS; bad news is not.

    Args:
        now: a clock that never goes back, in seconds.
    """

    def __init__(self, room: StreamRoom, now: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._now = now
        self._fullness = 1.0
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def has_room(self) -> bool:
        """Whether more may be announced; never when NATS is away."""
        age = self._now() - self._asked_at
        if age > FRESH_SECONDS:
            asking = self._ask()
            if age > STALE_SECONDS or self._fullness > FULL_ENOUGH:
                await asyncio.shield(asking)
        return self._fullness <= FULL_ENOUGH

    async def little_waits(self) -> bool:
        """Whether what was announced is nearly worked off; asks each time.

        Raises:
            EventsUnavailable: NATS is away.
            TimeoutError: it does not answer.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            waiting = await asyncio.gather(*map(self._room.waiting, (BatchAccepted, RecipientsVerified)))
        return sum(waiting) < LITTLE

    async def close(self) -> None:
        """Wait for the question under way, if any."""
        if self._asking is not None:
            await asyncio.wait([self._asking])

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._measure())
        return self._asking

    async def _measure(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._fullness = await self._room.fullness(BatchAccepted)
        except (EventsUnavailable, TimeoutError) as error:
            self._fullness = 1.0
            log.info("the verify stream cannot be seen", extra={"error": type(error).__name__})
        self._asked_at = self._now()
