"""stats: writes what became of Deliveries, and keeps reports; ledger and statistics in one transaction."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from functions.stats.deciding import Learnt, RetryRules, decide, learnt_from
from functions.stats.engaging import write_engagements
from functions.stats.reporting import outcome_of, without_the_erased
from functions.stats.suppressing import suppress_for, suppress_unsubscribed
from kannon.core.batches import Delivery, Move, Outcome
from kannon.core.deliveries import DeliveryId, Fact, Status
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import Unavailable
from kannon.core.failpoints import passing
from kannon.core.payloads import AnyPayload, DeliveriesDue, EngagementsSeen, ReportJudged
from kannon.core.reports.values import Kind
from kannon.core.suppression import SuppressionRules
from kannon.ports import Clock, EventPublisher, Ledger, LedgerWork, Outbox

log = logging.getLogger(__name__)


class Stats:
    """Everything after the wire.

    Args:
        nonce: makes each request for more work an event of its own.
        chance: gives numbers from 0.0 up to 1.0.
        suppression: which bounces and complaints suppress addresses.
    """

    def __init__(
        self,
        ledger: Ledger,
        publisher: EventPublisher,
        outbox: Outbox,
        rules: RetryRules,
        clock: Clock,
        nonce: Callable[[], str],
        chance: Callable[[], float],
        suppression: SuppressionRules,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._outbox = outbox
        self._rules = rules
        self._clock = clock
        self._nonce = nonce
        self._chance = chance
        self._suppression = suppression

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Write a chunk of results or engagements, or a report; what is late or repeated changes nothing."""
        del traceparent
        if isinstance(payload, ReportJudged):
            await self._take_report(payload)
            return
        if isinstance(payload, EngagementsSeen):
            await self._take_engagements(payload)
            return
        learnt = learnt_from(payload)
        async with self._ledger.work() as work:
            freed = await self._write(work, learnt)
            more = bool(freed) and await work.anything_due(self._clock())
        passing("stats.committed")
        self._outbox.nudge()
        if more:
            await self._ask_for_claims()

    async def _write(self, work: LedgerWork, learnt: Sequence[Learnt]) -> int:
        now = self._clock()
        rows = await work.lock(sorted({item.emitted.delivery for item in learnt}))
        before = {row.id: row.standing.status for row in rows}
        current: dict[DeliveryId, Delivery] = {row.id: row for row in rows}
        moves: dict[DeliveryId, Move] = {}
        outcomes: list[Outcome] = []
        for item in learnt:
            delivery = current.get(item.emitted.delivery)
            decision = decide(delivery, item, self._rules, now, self._chance()) if delivery else None
            if decision is None:
                continue
            current[decision.after.id] = decision.after
            move = decision.after.moved(decision.after.standing.status)
            moves[move.id] = replace(move, untaken=item.fact is Fact.UNTAKEN)
            outcomes.extend(decision.outcomes)
        await work.move(list(moves.values()), now)
        if back := [move.id for move in moves.values() if move.status is Status.SCHEDULED]:
            await work.end_cancelled(back)
        await work.record(outcomes)
        await suppress_for(work, outcomes, self._suppression, now)
        return sum(
            before[move.id] is Status.SENDING and move.status is not Status.SENDING for move in moves.values()
        )

    async def _take_report(self, report: ReportJudged) -> None:
        async with self._ledger.work() as work:
            rows = await work.lock(report.deliveries)
            had = await work.reported([row.id for row in rows])
            found = [outcome_of(row, had.get(row.id, ()), report) for row in rows]
            outcomes = [outcome for outcome in found if outcome is not None]
            await work.record(outcomes)
            await suppress_for(work, outcomes, self._suppression, self._clock())
            kept = without_the_erased(report, rows)
            is_new = await work.keep_report(kept, rows[0].domain if rows else report.recipients[0].domain)
            if is_new and report.kind is Kind.UNSUBSCRIBE:
                asked = [(row, report.at) for row in rows]
                await suppress_unsubscribed(work, asked, self._suppression, self._clock())
        self._outbox.nudge()

    async def _take_engagements(self, seen: EngagementsSeen) -> None:
        async with self._ledger.work() as work:
            await write_engagements(work, seen.engagements, self._suppression, self._clock())
        self._outbox.nudge()

    async def _ask_for_claims(self) -> None:
        try:
            await self._publisher.publish(DeliveriesDue(MAX_CHUNK_ITEMS, self._nonce()))
        except Unavailable as error:
            # The results are committed; the tick asks for what waits.
            log.info("could not ask for more work", extra={"reason": str(error)})
