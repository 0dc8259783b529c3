"""A ledger in memory. It keeps to the same contract suite as the one in PostgreSQL."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from kannon.core.batches import TOLD_ONCE, BatchContent, Delivery, Move, Outcome
from kannon.core.deliveries import DeliveryId, Fact, Status, transition
from kannon.core.diagnosis import LedgerDiagnosis, Pile
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import Act, Engagement, ReportJudged
from kannon.core.retries import LONGEST_REPLY, MAX_EMISSIONS, attempt_expires_at
from kannon.core.suppression import Happening, Suppression
from kannon.core.tracking.policy import Mode
from kannon.ports import LedgerWork
from tests.fakes_suppressions import FakeSuppressions


@dataclass
class FakeLedger:
    """Rows, Outcomes and Batches as plain values, `cancelled` by number; `away` makes it answer nothing."""

    rows: dict[DeliveryId, Delivery] = field(default_factory=dict)
    contents: dict[int, BatchContent] = field(default_factory=dict)
    outcomes: dict[tuple[object, ...], Outcome] = field(default_factory=dict)
    published: dict[DeliveryId, int] = field(default_factory=dict)
    emitted: dict[DeliveryId, datetime] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    reports: dict[str, tuple[ReportJudged, str]] = field(default_factory=dict)
    engagements: dict[str, Engagement] = field(default_factory=dict)
    remembered: set[str] = field(default_factory=set)
    suppressions: FakeSuppressions = field(default_factory=FakeSuppressions)
    in_hand: int = 20_000
    lease: timedelta = timedelta(minutes=15)
    away: bool = False

    @asynccontextmanager
    async def work(self) -> AsyncIterator[LedgerWork]:
        if self.away:
            raise LedgerUnavailable("away")
        kept = (
            "rows",
            "outcomes",
            "published",
            "emitted",
            "suppressions",
            "reports",
            "engagements",
            "remembered",
        )
        before = {name: deepcopy(getattr(self, name)) for name in kept}
        try:
            yield _FakeWork(self)
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def of_type(self, kind: str) -> list[Outcome]:
        """The Outcomes of a type."""
        return [outcome for outcome in self.outcomes.values() if outcome.type == kind]

    def address_of(self, engagement: Engagement) -> str:
        """What its row has for an address; empty if it leaves none."""
        if engagement.mode is Mode.PSEUDONYMOUS:
            return engagement.pseudonym
        if engagement.mode < Mode.PSEUDONYMOUS or engagement.seq is None:
            return ""
        row = self.rows.get(DeliveryId(engagement.batch, engagement.seq))
        return row.recipient if row and not row.is_erased else ""

    def cancel(self, delivery: DeliveryId) -> None:
        """Cancel a Delivery, if it waits and is out nowhere."""
        row = self.rows[delivery]
        status = transition(row.standing, Fact.CANCELLED)
        if status and not row.may_be_out:
            self.rows[delivery] = replace(row, standing=replace(row.standing, status=status))

    def status(self, delivery: DeliveryId) -> Status:
        """Where a Delivery stands."""
        return self.rows[delivery].standing.status


class _FakeWork:
    def __init__(self, ledger: FakeLedger) -> None:
        self._ledger = ledger

    async def lock_accepted(self, batch: int, seqs: Sequence[int]) -> Sequence[Delivery]:
        return [
            row
            for row in self._ordered()
            if row.id.batch == batch
            and row.id.seq in seqs
            and row.standing.status is Status.ACCEPTED
            and batch not in self._ledger.cancelled
        ]

    async def claim(self, limit: int, now: datetime) -> Sequence[Delivery]:
        cancelled = self._ledger.cancelled
        due = [row for row in self._due(now) if row.may_be_out or row.id.batch not in cancelled]
        waiting = {row.domain: {r.id.batch for r in due if r.domain == row.domain} for row in due}
        claimed: list[Delivery] = []
        for batches in waiting.values():
            share = max(1, limit // (len(waiting) * len(batches)))
            for batch in sorted(batches):
                claimed += [row for row in due if row.id.batch == batch][:share]
        claimed = claimed[:limit]
        return claimed + [row for row in due if row not in claimed][: limit - len(claimed)]

    async def lock(self, deliveries: Sequence[DeliveryId]) -> Sequence[Delivery]:
        return [row for row in self._ordered() if row.id in deliveries]

    async def stranded(self, limit: int, now: datetime) -> Sequence[Delivery]:
        return [
            row
            for row in self._ordered()
            if row.standing.status is Status.SENDING
            and self._ledger.emitted[row.id] < now - self._ledger.lease
        ][:limit]

    async def room(self) -> int:
        sending = sum(row.standing.status is Status.SENDING for row in self._ledger.rows.values())
        return max(0, self._ledger.in_hand - sending)

    async def batch(self, number: int) -> BatchContent:
        return self._ledger.contents[number]

    async def move(self, moves: Sequence[Move], now: datetime) -> None:
        for move in moves:
            row = self._ledger.rows[move.id]
            emitted = move.emission > row.standing.emission
            standing = replace(
                row.standing,
                status=move.status,
                attempts=move.attempts,
                emission=move.emission,
                due_at=move.due_at,
                answered=row.standing.answered or move.answered,
            )
            first = row.first_emitted_at or (now if emitted else None)
            if move.untaken and first == self._ledger.emitted.get(move.id):
                first = None
            self._ledger.rows[move.id] = replace(
                row,
                standing=standing,
                edge=move.edge if move.edge is not None else row.edge,
                first_emitted_at=first if move.emission else None,
            )
            if emitted:
                self._ledger.emitted[move.id] = now
            if move.published_seq is not None:
                self._ledger.published[move.id] = move.published_seq

    async def end_cancelled(self, deliveries: Sequence[DeliveryId]) -> None:
        for name in deliveries:
            if name.batch in self._ledger.cancelled:
                self._ledger.cancel(name)

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.only_first and any(o.id == outcome.id for o in self._ledger.of_type(outcome.type)):
                continue
            if outcome.type in (await self.reported([outcome.id])).get(outcome.id, ()):
                continue
            key = (outcome.id, outcome.type, outcome.attempt, outcome.at)
            self._ledger.outcomes.setdefault(key, outcome)

    async def record_engagements(self, engagements: Sequence[Engagement], now: datetime) -> int:
        known = self._ledger.engagements
        before = len(known)
        for one in engagements:
            if one.act is not Act.UNSUBSCRIBED and one.mode is not Mode.OFF:
                known.setdefault(one.id, one)
        return len(known) - before

    async def remember_engagements(self, ids: Sequence[str], now: datetime) -> Collection[str]:
        new = set(ids) - self._ledger.remembered
        self._ledger.remembered |= new
        return new

    async def reported(self, deliveries: Sequence[DeliveryId]) -> Mapping[DeliveryId, Collection[str]]:
        found: dict[DeliveryId, set[str]] = {}
        for outcome in self._ledger.outcomes.values():
            if outcome.id in deliveries and outcome.type in TOLD_ONCE:
                found.setdefault(outcome.id, set()).add(outcome.type)
        return found

    async def keep_report(self, report: ReportJudged, domain: str) -> bool:
        is_new = report.identity() not in self._ledger.reports
        self._ledger.reports.setdefault(report.identity(), (report, domain))
        return is_new

    async def note_soft_bounces(self, bounces: Sequence[Happening], window: timedelta) -> Sequence[int]:
        return self._ledger.suppressions.note(bounces, window)

    async def suppress(self, suppressions: Sequence[Suppression], now: datetime) -> None:
        self._ledger.suppressions.write(suppressions, now)

    async def anything_due(self, now: datetime) -> bool:
        return bool(self._due(now))

    def _ordered(self) -> list[Delivery]:
        return sorted(self._ledger.rows.values(), key=lambda row: row.id)

    def _due(self, now: datetime) -> list[Delivery]:
        due = [
            row
            for row in self._ledger.rows.values()
            if row.standing.status is Status.SCHEDULED and row.standing.due_at <= now
        ]
        return sorted(due, key=lambda row: (row.standing.due_at, row.id))


@dataclass
class FakeLedgerLook:
    """Counts what a ledger in memory holds."""

    ledger: FakeLedger

    async def look(self, now: datetime) -> LedgerDiagnosis:
        """See `ports.LedgerLook`."""
        if self.ledger.away:
            raise LedgerUnavailable("away")
        scheduled = self._in(Status.SCHEDULED)
        due = [row.standing.due_at for row in scheduled if row.standing.due_at <= now]
        later = [row.standing.due_at for row in scheduled if row.standing.due_at > now]
        deferred = [row.standing.due_at for row in scheduled if row.standing.attempts]
        sending = self._in(Status.SENDING)
        emitted = [self.ledger.emitted[row.id] for row in sending]
        fruitless = [row for row in sending if row.standing.emission >= MAX_EMISSIONS]
        return LedgerDiagnosis(
            unverified=Pile(len(self._in(Status.ACCEPTED))),
            due=Pile(len(due), oldest_at=min(due, default=None)),
            later=Pile(len(later), next_at=min(later, default=None)),
            deferred=Pile(len(deferred), next_at=min(deferred, default=None)),
            in_hand=Pile(
                len(emitted),
                oldest_at=min(emitted, default=None),
                next_at=min((at + self.ledger.lease for at in emitted), default=None),
            ),
            in_hand_limit=self.ledger.in_hand,
            stranded=Pile(sum(at < now - self.ledger.lease for at in emitted)),
            fruitless=Pile(
                len(fruitless),
                next_at=min(
                    (attempt_expires_at(row, now) + LONGEST_REPLY for row in fruitless), default=None
                ),
            ),
        )

    def _in(self, status: Status) -> list[Delivery]:
        return [row for row in self.ledger.rows.values() if row.standing.status is status]
