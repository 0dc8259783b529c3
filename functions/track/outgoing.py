"""What readers did, on its way to NATS: nobody who asks waits for that."""

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import Final, TypedDict

from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import Engagement, EngagementsSeen
from kannon.core.tracking.bursts import Bursts
from kannon.ports import EventPublisher

log = logging.getLogger(__name__)

FILL_SECONDS: Final = 0.02
"""How long a chunk is waited for to fill."""
MAX_KEPT: Final = 8_000_000
"""Octets that are kept while NATS does not take them; what comes then is lost."""
MAX_CHUNK: Final = 400_000
"""Octets of a chunk; JSON may write each of them as more."""
PUBLISHED_AT_ONCE: Final = 4
LAST_SECONDS: Final = 8.0
"""For what is left when the process is to end."""
_OVERHEAD: Final = 700
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_REMIND_EVERY: Final = 10.0


class Counts(TypedDict):
    """What became of engagements since the start, and how many are kept."""

    published: int
    lost: int
    pending: int


class Outgoing:
    """Publishes engagements in chunks, in the order in which they came, and keeps a bounded number of them.

    While NATS is away, or its stream full, they wait. What is not known to be stored is published again: each
    has an id, by which it counts once. What does not fit any more is lost, counted and told in the log.
    """

    def __init__(self, publisher: EventPublisher) -> None:
        self._published = 0
        self._lost = 0
        self._publisher = publisher
        self._bursts = Bursts()
        self._waiting: deque[Engagement] = deque()
        self._octets = 0
        self._wanted = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._working: asyncio.Task[None] | None = None
        self._lost_untold = 0
        self._told_at = float("-inf")

    def counts(self) -> Counts:
        """As they are now; what is held back counts among what is kept."""
        return Counts(published=self._published, lost=self._lost, pending=self._kept)

    @property
    def _kept(self) -> int:
        return len(self._waiting) + len(self._bursts)

    def put(self, engagement: Engagement) -> None:
        """Take one; returns at once."""
        if self._octets > MAX_KEPT:
            self._lose(1)
            return
        self._waiting.append(engagement)
        self._octets += _size(engagement)
        self._wanted.set()

    def put_click(self, reader: str, click: Engagement) -> None:
        """Take one that may be a scanner's, and hold it back until that is judged.

        Args:
            reader: as `Bursts.judge` has it.
        """
        for judged in self._bursts.judge(reader, click, asyncio.get_running_loop().time()):
            self.put(judged)
        self._wanted.set()

    def start(self) -> None:
        """Begin to publish."""
        self._working = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Publish what is left, for as long as there is time; the rest is lost."""
        if self._working:
            async with self._publishing:  # what is under way would else be published twice
                self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        for click in self._bursts.all():
            self.put(click)
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._drain()
        except TimeoutError:
            pass
        if self._waiting:
            self._lose(len(self._waiting))
            self._waiting.clear()
        self._tell(force=True)

    async def _work(self) -> None:
        pause = 0.0
        while True:
            await self._wanted.wait()
            await asyncio.sleep(FILL_SECONDS + pause)
            for click in self._bursts.passed(asyncio.get_running_loop().time()):
                self.put(click)
            async with self._publishing:
                is_stored = not self._waiting or await self._publish()
            pause = 0.0 if is_stored else min(2 * pause + _FIRST_PAUSE, _LONGEST_PAUSE)
            self._tell()
            if not self._kept:
                self._wanted.clear()

    async def _drain(self) -> None:
        while self._waiting:
            if not await self._publish():
                await asyncio.sleep(_FIRST_PAUSE)

    async def _publish(self) -> bool:
        """Publish what waits, some chunks at a time; they are let go once they are stored.

        Returns:
            Whether all were.
        """
        chunks = self._chunks()
        stored = await asyncio.gather(*(self._store(chunk) for chunk in chunks))
        failed: list[Engagement] = []
        for chunk, is_stored in zip(chunks, stored, strict=True):
            for _ in chunk:
                self._octets -= _size(self._waiting.popleft())
            if not is_stored:
                failed.extend(chunk)
        self._waiting.extendleft(reversed(failed))
        self._octets += sum(map(_size, failed))
        return all(stored)

    def _chunks(self) -> list[tuple[Engagement, ...]]:
        chunks, chunk, octets = [], list[Engagement](), 0
        for engagement in islice(self._waiting, PUBLISHED_AT_ONCE * MAX_CHUNK_ITEMS):
            size = _size(engagement)
            if chunk and (len(chunk) == MAX_CHUNK_ITEMS or octets + size > MAX_CHUNK):
                chunks.append(tuple(chunk))
                chunk, octets = [], 0
            chunk.append(engagement)
            octets += size
        chunks.append(tuple(chunk))
        return chunks[:PUBLISHED_AT_ONCE]

    async def _store(self, chunk: tuple[Engagement, ...]) -> bool:
        try:
            await self._publisher.publish(EngagementsSeen(chunk))
        except EventsUnavailable as error:
            log.debug("engagements wait", extra={"reason": str(error), "count": len(chunk)})
            return False
        except Exception:
            log.exception("a chunk cannot be published")
            self._lose(len(chunk))
            return True
        self._published += len(chunk)
        return True

    def _lose(self, count: int) -> None:
        self._lost += count
        self._lost_untold += count

    def _tell(self, force: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        if self._lost_untold and (force or now - self._told_at >= _REMIND_EVERY):
            log.error(
                "engagements are lost: NATS did not take them",
                extra={"lost": self._lost_untold, "lost_in_all": self._lost},
            )
            self._lost_untold, self._told_at = 0, now


def _size(engagement: Engagement) -> int:
    return _OVERHEAD + len(engagement.url) + len(engagement.user_agent)
