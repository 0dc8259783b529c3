"""Deliveries to look at, in memory. Keeps to the contract suite of its port."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kannon.core.deliveries import DeliveryId
from kannon.core.errors import LedgerUnavailable
from kannon.ports import OUTCOMES_SHOWN, DeliveryFilter, DeliveryPage, DeliveryRecord


@dataclass(frozen=True)
class AcceptedBatch:
    """A Batch, as far as looking at its Deliveries goes."""

    number: int
    message_id: str
    domain: str
    accepted_at: datetime
    deliveries: Sequence[DeliveryRecord]


@dataclass
class FakeDeliveryQueries:
    """Batches as they were put in; `away` makes it answer nothing."""

    batches: list[AcceptedBatch] = field(default_factory=list)
    away: bool = False

    async def batch(self, domain: str, message_id: str) -> int | None:
        """See `ports.DeliveryQueries`."""
        self._answer()
        found = (b.number for b in self.batches if (b.domain, b.message_id) == (domain, message_id))
        return next(found, None)

    async def page(self, wanted: DeliveryFilter, start: DeliveryId | None, take: int) -> DeliveryPage:
        """See `ports.DeliveryQueries`."""
        self._answer()
        found = self._found(wanted)
        if start:
            names = [record.id for record in found]
            found = found[names.index(start) :] if start in names else []
        shown = [_shortened(record) for record in found[:take]]
        return DeliveryPage(shown, found[take].id if len(found) > take else None)

    async def total(self, wanted: DeliveryFilter) -> int:
        """See `ports.DeliveryQueries`."""
        self._answer()
        return len(self._found(wanted))

    def _found(self, wanted: DeliveryFilter) -> list[DeliveryRecord]:
        batches = [
            batch
            for batch in sorted(
                self.batches, key=lambda batch: (batch.accepted_at, batch.number), reverse=True
            )
            if batch.domain == wanted.domain
            and batch.accepted_at >= wanted.since
            and wanted.batch in (None, batch.number)
        ]
        return [
            record
            for batch in batches
            for record in batch.deliveries
            if wanted.email in (None, record.email) and wanted.status in (None, record.status)
        ]

    def _answer(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")


def _shortened(record: DeliveryRecord) -> DeliveryRecord:
    return DeliveryRecord(
        id=record.id,
        message_id=record.message_id,
        email=record.email,
        status=record.status,
        attempts=record.attempts,
        due_at=record.due_at,
        expires_at=record.expires_at,
        outcomes=record.outcomes[-OUTCOMES_SHOWN:],
        cancelled_at=record.cancelled_at,
    )
