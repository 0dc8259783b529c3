"""The tick: takes stranded work back, goes on with cancelling and moving Batches, re-announces, asks for
claims, publishes what the outbox holds, forgets idempotency keys and reports, keeps the statistics in order,
sees to it that tracking tokens have a key, and collects stored objects.

It is disposable: each of its steps is a transaction of its own, a step that cannot be done now is left to the
next tick, and throughput never waits for it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from functions.dispatch.collecting import Collector
from functions.dispatch.signing import TokenSigner
from kannon.core.batches import Delivery, Move, Outcome
from kannon.core.deliveries import Fact, transition
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import Unavailable
from kannon.core.payloads import BatchAccepted, DeliveriesDue
from kannon.core.retries import is_fruitless
from kannon.ports import (
    Clock,
    EventPublisher,
    Ledger,
    Outbox,
    Recovery,
    StatisticsUpkeep,
    StreamRoom,
    StreamStates,
)

CHUNKS_ANNOUNCED = 200
STRANDED_TAKEN_BACK = 1000
CLAIMS_AT_ONCE = 4
PIECES_SETTLED = 10
"""At most, by one tick: 50,000 Deliveries of Batches with which a gateway did not come to an end."""
KEYS_FORGOTTEN = 5000
"""At most, by one tick: more than there may come in the time between two."""
REPORTS_FORGOTTEN = 500
"""At most, of each kind, by one tick; each may have 64 KB."""
STATISTICS_KEPT_EVERY = timedelta(seconds=10)
"""Counts wait so long for others of the same hour: merging costs by distinct ones. And who reads statistics
for long holds a month back that is to be dropped: others wait for that, each time, for a moment."""
PIECES_MERGED = 10
STATISTICS_FORGOTTEN = 5000
"""At most, by one tick, beside whole months."""
FULL_ENOUGH = 0.5
"""The gateway and the tick leave Batches unannounced while the verify stream is fuller than this."""
log = logging.getLogger(__name__)


class Tick:
    """Looks for forgotten work."""

    def __init__(
        self,
        ledger: Ledger,
        recovery: Recovery,
        upkeep: StatisticsUpkeep,
        streams: StreamStates,
        room: StreamRoom,
        publisher: EventPublisher,
        signer: TokenSigner,
        outbox: Outbox,
        clock: Clock,
        nonce: Callable[[], str],
        collector: Collector,
    ) -> None:
        self._ledger = ledger
        self._recovery = recovery
        self._upkeep = upkeep
        self._keep_statistics_at: datetime | None = None
        self._streams = streams
        self._room = room
        self._publisher = publisher
        self._signer = signer
        self._outbox = outbox
        self._clock = clock
        self._nonce = nonce
        self._collector = collector

    async def tick(self) -> None:
        """Do all steps; one that cannot be done now is logged and left."""
        steps: Sequence[Callable[[], Awaitable[None]]] = (
            self._notice_losses,
            self._take_back_stranded,
            self._settle_batches,
            self._announce,
            self._ask_for_claims,
            self._publish_outcomes,
            self._forget_keys,
            self._forget_reports,
            self._signer.rotate,
            self._keep_statistics,
            self._collect_objects,
        )
        for step in steps:
            try:
                await step()
            except Unavailable as error:
                log.info("left to the next tick", extra={"step": step.__name__, "reason": str(error)})

    async def _notice_losses(self) -> None:
        seen_at = self._clock()
        await self._recovery.notice(await self._streams.states(), seen_at)

    async def _take_back_stranded(self) -> None:
        async with self._ledger.work() as work:
            now = self._clock()
            stranded = await work.stranded(STRANDED_TAKEN_BACK, now)
            lost = [delivery for delivery in stranded if is_fruitless(delivery, now)]
            given_up = {delivery.id for delivery in lost}
            moves = [_move(delivery, Fact.FAILED, now) for delivery in lost]
            moves += [_move(d, Fact.STRANDED, now) for d in stranded if d.id not in given_up]
            await work.move(moves, now)
            await work.record([_given_up(delivery, now) for delivery in lost])
        if stranded:
            log.warning("took stranded work back", extra={"deliveries": len(stranded), "given_up": len(lost)})

    async def _settle_batches(self) -> None:
        await self._recovery.settle(PIECES_SETTLED)

    async def _announce(self) -> None:
        if await self._room.fullness(BatchAccepted) > FULL_ENOUGH:
            return
        for chunk in await self._recovery.unannounced(CHUNKS_ANNOUNCED, self._clock()):
            await self._publisher.publish(
                BatchAccepted(chunk.batch, chunk.announcement, chunk.recipients), chunk.traceparent
            )
            await self._recovery.announced(chunk, self._clock())

    async def _ask_for_claims(self) -> None:
        async with self._ledger.work() as work:
            wanted = await work.anything_due(self._clock()) and await work.room() > 0
        if wanted and not await self._room.waiting(DeliveriesDue):
            for _ in range(CLAIMS_AT_ONCE):
                await self._publisher.publish(DeliveriesDue(MAX_CHUNK_ITEMS, self._nonce()))

    async def _publish_outcomes(self) -> None:
        await self._outbox.drain()

    async def _forget_keys(self) -> None:
        await self._recovery.forget_keys(KEYS_FORGOTTEN, self._clock())

    async def _forget_reports(self) -> None:
        await self._recovery.forget_reports(REPORTS_FORGOTTEN, self._clock())

    async def _keep_statistics(self) -> None:
        now = self._clock()
        if self._keep_statistics_at is not None and now < self._keep_statistics_at:
            return
        self._keep_statistics_at = now + STATISTICS_KEPT_EVERY
        await self._upkeep.merge(PIECES_MERGED)
        await self._upkeep.sum_up(now)
        await self._upkeep.make_months(now)
        await self._upkeep.forget(STATISTICS_FORGOTTEN, now)

    async def _collect_objects(self) -> None:
        await self._collector.collect(self._clock())


def _move(delivery: Delivery, fact: Fact, now: datetime) -> Move:
    standing = delivery.standing
    status = transition(standing, fact, standing.current_attempt)
    assert status is not None, "only Deliveries in hand are stranded"
    return delivery.moved(status, due_at=now)


def _given_up(delivery: Delivery, now: datetime) -> Outcome:
    return delivery.outcome("failed", delivery.standing.current_attempt, now, {"reason": "no_result"})
