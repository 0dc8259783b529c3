"""Posts what is due, many at once, each endpoint on its own."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable
from typing import Final

from kannon.core.errors import Unavailable
from kannon.core.webhooks import CONTENT_TYPE, Endpoint, PostResult, signed_headers
from kannon.ports import Claimed, Clock, WebhookPoster, WebhookQueue

log = logging.getLogger(__name__)

AT_ONCE: Final = 32
TROUBLED_AT_ONCE: Final = 16
"""Of these; slow and failing endpoints leave room for the others."""
LAST_SECONDS: Final = 10.0
"""For posts under way when the process is to end; what is cut off is posted again at the end of its lease."""


class Posting:
    """Claims, posts and records, as long as there is something due.

    A post whose result is not recorded, because the process or the ledger went away in between, is made again
    under the same id at the end of its lease.
    """

    def __init__(self, queue: WebhookQueue, poster: WebhookPoster, clock: Clock, user_agent: str) -> None:
        self._queue = queue
        self._poster = poster
        self._clock = clock
        self._user_agent = user_agent
        self._wanted = asyncio.Event()
        self._run: asyncio.Task[None] | None = None
        self._under_way: dict[asyncio.Task[PostResult], Claimed] = {}
        self._troubled: set[asyncio.Task[PostResult]] = set()
        self._is_closing = False

    def nudge(self) -> None:
        """Something may be due."""
        self._wanted.set()
        if not self._is_closing and (self._run is None or self._run.done()):
            self._run = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Finish what is under way, and begin nothing."""
        self._is_closing = True
        self._wanted.set()
        if self._run is not None:
            _, late = await asyncio.wait({self._run}, timeout=LAST_SECONDS)
            for task in (*late, *self._under_way):
                task.cancel()
            await asyncio.gather(*late, *self._under_way, return_exceptions=True)

    async def _work(self) -> None:
        while self._wanted.is_set() or self._under_way:
            self._wanted.clear()
            if not self._is_closing:
                await self._or_later(self._claim())
            if self._under_way:
                await self._or_later(self._record(await self._some_done()))

    async def _or_later(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Unavailable as error:
            log.info("webhooks wait for the tick", extra={"reason": str(error)})
        except Exception:
            log.exception("webhooks wait for the tick")

    async def _claim(self) -> None:
        for troubled in (False, True):
            room = AT_ONCE - len(self._under_way)
            if troubled:
                room = min(room, TROUBLED_AT_ONCE - len(self._troubled))
            if room <= 0:
                continue
            under_way = Counter(claimed.webhook for claimed in self._under_way.values())
            for claimed in await self._queue.claim(room, self._clock(), under_way, troubled=troubled):
                task = asyncio.create_task(self._post(claimed))
                self._under_way[task] = claimed
                if troubled:
                    self._troubled.add(task)

    async def _some_done(self) -> list[tuple[Claimed, PostResult]]:
        nudged = asyncio.create_task(self._wanted.wait())
        try:
            await asyncio.wait({nudged, *self._under_way}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
        done = [task for task in self._under_way if task.done()]
        self._troubled.difference_update(done)
        return [(self._under_way.pop(task), task.result()) for task in done]

    async def _record(self, answers: list[tuple[Claimed, PostResult]]) -> None:
        if not answers:
            return
        self._wanted.set()  # there is room now
        suspended = set(await self._queue.record(answers, self._clock()))
        for claimed, answer in answers:
            if claimed.webhook in suspended:
                suspended.remove(claimed.webhook)
                log.warning(
                    "webhook suspended",
                    extra={"webhook": claimed.webhook, "domain": claimed.domain, "reason": answer.reason},
                )

    async def _post(self, claimed: Claimed) -> PostResult:
        headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": self._user_agent,
            **signed_headers(claimed.event_id, self._clock(), claimed.body, claimed.secrets),
        }
        return await self._poster.post(Endpoint.parse(claimed.url), headers, claimed.body.encode())
