"""Gauges of what waits in streams and ledger: a gateway reaches both, and never scales to zero."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from api_gateway.announcer import Announcer
from kannon.core.diagnosis import LedgerDiagnosis
from kannon.core.errors import Unavailable
from kannon.ports import Clock, LedgerLook, StreamsLook
from kannon.telemetry import catalogue as c
from kannon.telemetry.metrics import Gauge

EVERY: Final = 15.0
"""Seconds for which a look is good: it counts rows, up to 100,000 of each kind."""
SECONDS: Final = 2.5
"""What does not answer by then is not told, rather than told as it was."""
_PILES: Final = ("unverified", "due", "later", "deferred", "in_hand", "stranded")


class Gauges:
    """Looks at what waits, whoever asks and however often.

    Args:
        monotonic: seconds that only grow.
    """

    def __init__(
        self,
        ledger: LedgerLook,
        streams: StreamsLook,
        announcer: Announcer,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._streams = streams
        self._announcer = announcer
        self._clock = clock
        self._monotonic = monotonic
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Set the gauges; what is away has none."""
        c.UNANNOUNCED.set(self._announcer.waiting)
        async with self._looking:
            if self._monotonic() - self._looked_at < EVERY:
                return
            await asyncio.gather(
                _in_time(self._look_at_ledger(), c.LEDGER, c.LEDGER_OLDEST, c.OUTBOX, c.TICK_AGE),
                _in_time(self._look_at_streams(), *_OF_STREAMS),
            )
            self._looked_at = self._monotonic()

    async def _look_at_ledger(self) -> None:
        now = self._clock()
        found = await self._ledger.look(now)
        for name in _PILES:
            pile = getattr(found, name)
            c.LEDGER.set(pile.count, name)
            c.LEDGER_OLDEST.set(_age(pile.oldest_at, now), name)
        c.OUTBOX.set(found.outbox.count)
        _set_tick(found, now)

    async def _look_at_streams(self) -> None:
        found = await self._streams.look()
        for gauge in _OF_STREAMS:
            gauge.clear()
        for stream in found.streams:
            if stream.stage:
                c.STREAM_MESSAGES.set(stream.messages, stream.stage)
                c.STREAM_UNTAKEN.set(stream.untaken, stream.stage)
                c.STREAM_FULLNESS.set(stream.fullness, stream.stage)
        for event, count in found.dead_letters.items():
            name = _event_of(event)
            c.DEAD_LETTERS.set(c.DEAD_LETTERS.value(name) + count, name)


_REQUESTS: Final = "requests"
_OF_STREAMS: Final = (c.STREAM_MESSAGES, c.STREAM_UNTAKEN, c.STREAM_FULLNESS, c.DEAD_LETTERS)


async def _in_time(look: Awaitable[None], *gauges: Gauge) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            await look
    except (Unavailable, TimeoutError):
        for gauge in gauges:
            gauge.clear()


def _event_of(name: str) -> str:
    """A request's subject ends with what its sender took for a Domain: no name for a label."""
    return _REQUESTS if name.startswith(f"{_REQUESTS}.") else name


def _set_tick(found: LedgerDiagnosis, now: datetime) -> None:
    if found.ticked_at is None:
        c.TICK_AGE.clear()
    else:
        c.TICK_AGE.set(_age(found.ticked_at, now))


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
