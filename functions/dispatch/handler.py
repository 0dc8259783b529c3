"""dispatch: verdicts and claims become Envelopes on their way."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from functions.dispatch.emitting import Emitter
from functions.dispatch.signing import TokenSigner
from kannon.core.batches import Delivery, Move
from kannon.core.deliveries import Fact, transition
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import MalformedEvent, Unavailable
from kannon.core.payloads import AnyPayload, DeliveriesDue, RecipientsVerified
from kannon.ports import Clock, EventPublisher, Ledger, LedgerWork, Outbox

log = logging.getLogger(__name__)


class Dispatch:
    """Everything before the wire: it writes `accepted`, `rejected` and `failed`, and sets `sending`.

    Args:
        nonce: makes each request for more work an event of its own.
    """

    def __init__(
        self,
        ledger: Ledger,
        publisher: EventPublisher,
        emitter: Emitter,
        signer: TokenSigner,
        outbox: Outbox,
        clock: Clock,
        nonce: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._emitter = emitter
        self._signer = signer
        self._outbox = outbox
        self._clock = clock
        self._nonce = nonce

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Apply verdicts, or claim what is due."""
        del traceparent  # each Batch keeps its own
        await self._signer.ready()
        if isinstance(payload, RecipientsVerified):
            await self._apply_verdicts(payload)
        elif isinstance(payload, DeliveriesDue):
            await self._claim_due(payload.count)
        else:
            raise MalformedEvent(f"dispatch does not take {payload.NAME}")
        self._outbox.nudge()

    async def _apply_verdicts(self, verified: RecipientsVerified) -> None:
        reasons = {verdict.seq: verdict.reason for verdict in verified.verdicts}
        async with self._ledger.work() as work:
            deliveries = await work.lock_accepted(verified.batch, list(reasons))
            now = self._clock()  # to lock them may have taken long
            rejected = [delivery for delivery in deliveries if reasons[delivery.id.seq]]
            passed = [delivery for delivery in deliveries if not reasons[delivery.id.seq]]
            due, waiting = await self._with_room(work, passed, now)
            failures = await self._emitter.emit(work, due, now)
            moves = [_verdict_move(delivery, Fact.REJECTED) for delivery in rejected]
            moves += [_verdict_move(delivery, Fact.VERIFIED) for delivery in waiting]
            await work.move(moves, now)
            outcomes = [d.outcome("rejected", 0, now, {"reason": reasons[d.id.seq]}) for d in rejected]
            outcomes += [delivery.outcome("accepted", 0, now, {}) for delivery in passed]
            await work.record(outcomes + failures)

    async def _with_room(
        self, work: LedgerWork, passed: Sequence[Delivery], now: datetime
    ) -> tuple[Sequence[Delivery], Sequence[Delivery]]:
        room = await work.room() if passed else 0
        due = [delivery for delivery in passed if delivery.standing.due_at <= now][:room]
        taken = {delivery.id for delivery in due}
        return due, [delivery for delivery in passed if delivery.id not in taken]

    async def _claim_due(self, count: int) -> None:
        async with self._ledger.work() as work:
            now = self._clock()
            limit = min(count, MAX_CHUNK_ITEMS, await work.room())
            claimed = await work.claim(limit, now) if limit else []
            await work.record(await self._emitter.emit(work, claimed, now))
        if claimed and len(claimed) == limit:
            await self._ask_for_more()

    async def _ask_for_more(self) -> None:
        try:
            await self._publisher.publish(DeliveriesDue(MAX_CHUNK_ITEMS, self._nonce()))
        except Unavailable as error:
            # What was claimed is committed; the tick asks for the rest.
            log.info("could not ask for more work", extra={"reason": str(error)})


def _verdict_move(delivery: Delivery, fact: Fact) -> Move:
    status = transition(delivery.standing, fact)
    assert status is not None, "only accepted Deliveries are locked for a verdict"
    return delivery.moved(status)
