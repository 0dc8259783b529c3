"""Records decisions about calls, and holds no call up for it.

Records are gathered for half a second and written together. While PostgreSQL is away they wait, up to a
bound; what is beyond is counted and logged. Whether a call is let in never depends on whether that could be
recorded.
"""

import asyncio
import logging
from collections import Counter, deque
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Final

from kannon.core.access import Caller
from kannon.core.audit import ADMIN_ROLE, AuditRecord, Decision
from kannon.core.errors import Unavailable
from kannon.ports import AuditTrail, Clock

WAITING: Final = 20_000
"""Records that may wait to be written."""
AT_ONCE: Final = 1_000
"""Records of one statement."""
GATHERED_SECONDS: Final = 0.5
SINGLE_FAILURES: Final = 20
"""Of one client within that time. What it fails more often is one record that tells how often: who cannot
even call shall not fill the disk."""
PRUNED_EVERY: Final = 60.0
PRUNED_AT_ONCE: Final = 5_000

log = logging.getLogger(__name__)


class Auditor:
    """Records decisions.

    Args:
        trail: where to; None: nowhere.
    """

    def __init__(self, trail: AuditTrail | None, clock: Clock) -> None:
        self._trail = trail
        self._clock = clock
        self._waiting: deque[AuditRecord] = deque()
        self._failures: Counter[str] = Counter()
        self._more: dict[str, AuditRecord] = {}
        self._lost: Counter[str] = Counter()
        self._stopping = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def record(
        self, decision: Decision, procedure: str, caller: Caller, domain: str, trace: str, reason: str = ""
    ) -> None:
        """Record a decision soon; returns at once.

        Args:
            caller: of an unauthenticated call only what it claims, and without a role.
            domain: as `AuditRecord.domain`.
        """
        if self._trail is None:
            return
        is_failure = decision is Decision.UNAUTHENTICATED
        one = AuditRecord(
            at=self._clock(),
            procedure=procedure,
            decision=decision,
            reason=reason,
            domain=domain,
            key_id=caller.key_id,
            role="" if is_failure else str(caller.role or ADMIN_ROLE),
            client=caller.client,
            attribution=caller.attribution,
            trace=trace,
        )
        if not (is_failure and self._is_told_in_sum(one)):
            self._wait(one)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(self._trail))

    async def close(self, seconds: float) -> None:
        """Write what waits; what cannot be written within so many seconds is counted and logged."""
        self._stopping.set()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=seconds)
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing
        for one in self._waiting:
            self._lost[one.decision] += one.count
        self._tell_lost()

    def _is_told_in_sum(self, one: AuditRecord) -> bool:
        self._failures[one.client] += 1
        if self._failures[one.client] <= SINGLE_FAILURES:
            return False
        more = self._more.get(one.client, replace(one, count=0))
        self._more[one.client] = replace(more, count=more.count + 1)
        return True

    def _wait(self, one: AuditRecord) -> None:
        if len(self._waiting) < WAITING:
            self._waiting.append(one)
        else:
            self._lost[one.decision] += one.count

    async def _write_all(self, trail: AuditTrail) -> None:
        while self._waiting or self._more:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), GATHERED_SECONDS)
            for one in self._more.values():
                self._wait(one)
            self._more.clear()
            self._failures.clear()
            try:
                await self._write(trail)
            except Unavailable as error:
                log.warning("audit records wait", extra={"records": len(self._waiting), "reason": str(error)})
                if self._stopping.is_set():
                    return
            self._tell_lost()

    async def _write(self, trail: AuditTrail) -> None:
        while self._waiting:
            first = list(islice(self._waiting, AT_ONCE))
            try:
                await trail.write(first)
            except Unavailable:
                raise
            except Exception:  # what can never be written must not stop what comes after it
                log.exception("audit records cannot be written")
                self._lost.update(one.decision for one in first)
            for _ in first:
                self._waiting.popleft()

    def _tell_lost(self) -> None:
        if self._lost:
            log.error("audit records are lost", extra=dict(self._lost))
            self._lost.clear()


async def prune(trail: AuditTrail, retention: timedelta, clock: Clock) -> None:
    """Delete records as they grow older than `retention`, until cancelled."""
    while True:
        try:
            is_more = await trail.forget(PRUNED_AT_ONCE, clock() - retention) == PRUNED_AT_ONCE
        except Unavailable as error:
            log.info("audit records are pruned later", extra={"reason": str(error)})
            is_more = False
        await asyncio.sleep(0 if is_more else PRUNED_EVERY)
