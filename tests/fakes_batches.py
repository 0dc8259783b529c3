"""Whole Batches over the ledger in memory. Keeps to the contract suite of its port."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from kannon.core.batches import Delivery
from kannon.core.deliveries import WAITING
from kannon.core.errors import LedgerUnavailable
from kannon.ports import BatchRecord
from tests.fakes_ledger import FakeLedger


@dataclass
class FakeBatches:
    """Batches with their Domains; their Deliveries are those of `ledger`. `away` makes it answer nothing."""

    ledger: FakeLedger = field(default_factory=FakeLedger)
    batches: dict[int, tuple[str, BatchRecord]] = field(default_factory=dict)
    away: bool = False

    def put(self, domain: str, number: int, scheduled_at: datetime, *deliveries: Delivery) -> None:
        """A Batch that was accepted at the time it was scheduled for."""
        record = BatchRecord(
            number=number,
            message_id=f"msg_{number}@{domain}",
            subject="Hello {{ name }}",
            template_id=f"t@{domain}",
            scheduled_at=scheduled_at,
            accepted_at=scheduled_at,
            cancelled_at=None,
            retry_budget=timedelta(hours=24),
            counts={},
            untried=0,
        )
        self.batches[number] = (domain, record)
        self.ledger.rows.update({row.id: row for row in deliveries})

    async def batch(self, domain: str, message_id: str) -> BatchRecord | None:
        """See `ports.Batches`."""
        self._answer()
        for owner, record in self.batches.values():
            if (owner, record.message_id) == (domain, message_id):
                rows = self._rows(record.number)
                counts = Counter(row.standing.status for row in rows)
                return replace(record, counts=dict(counts), untried=sum(_is_untried(row) for row in rows))
        return None

    async def cancel(self, number: int, now: datetime) -> None:
        """See `ports.Batches`."""
        self._answer()
        if number in self.ledger.cancelled:
            return
        domain, record = self.batches[number]
        self.batches[number] = (domain, replace(record, cancelled_at=now))
        self.ledger.cancelled.add(number)
        for row in self._rows(number):
            self.ledger.cancel(row.id)

    async def reschedule(self, number: int, at: datetime) -> bool:
        """See `ports.Batches`."""
        self._answer()
        if number in self.ledger.cancelled:
            return False
        domain, record = self.batches[number]
        untried = [row for row in self._rows(number) if _is_untried(row)]
        if untried:
            self.batches[number] = (domain, replace(record, scheduled_at=at))
        for row in untried:
            standing = replace(row.standing, due_at=at, expires_at=at + record.retry_budget)
            self.ledger.rows[row.id] = replace(row, standing=standing)
        return True

    def _rows(self, number: int) -> list[Delivery]:
        return [row for row in self.ledger.rows.values() if row.id.batch == number]

    def _answer(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")


def _is_untried(row: Delivery) -> bool:
    return row.standing.status in WAITING and row.standing.attempts == 0 and not row.may_be_out
