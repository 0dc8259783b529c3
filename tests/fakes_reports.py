"""Reports that a ledger in memory kept. It keeps to the same contract suite as those in PostgreSQL."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kannon.core.errors import LedgerUnavailable
from kannon.core.reports.values import Kind
from kannon.ports import ReportRecord
from tests.fakes_ledger import FakeLedger


@dataclass
class FakeReports:
    """Numbers them from 1 in the order in which they came."""

    ledger: FakeLedger

    async def page(
        self, kind: Kind | None, domain: str, before: int | None, take: int
    ) -> Sequence[ReportRecord]:
        """See `ports.Reports`."""
        found = [
            record
            for record, _ in self._kept()
            if kind in (None, record.kind)
            and domain in ("", record.domain)
            and (before is None or record.number < before)
        ]
        return found[::-1][:take]

    async def report(self, number: int) -> tuple[ReportRecord, bytes] | None:
        """See `ports.Reports`."""
        return next((kept for kept in self._kept() if kept[0].number == number), None)

    async def counts(self, domain: str, since: datetime) -> Mapping[Kind, int]:
        """See `ports.Reports`."""
        hour = since.replace(minute=0, second=0, microsecond=0)
        return Counter(
            record.kind for record, _ in self._kept() if domain in ("", record.domain) and record.at >= hour
        )

    def _kept(self) -> list[tuple[ReportRecord, bytes]]:
        if self.ledger.away:
            raise LedgerUnavailable("away")
        return [
            (
                ReportRecord(
                    number=number,
                    at=report.at,
                    kind=report.kind,
                    reason=report.reason,
                    domain=domain,
                    recipients=report.recipients,
                    deliveries=report.deliveries,
                    told=report.told,
                    sender=report.sender,
                    client=report.client,
                    size=report.size,
                ),
                report.head,
            )
            for number, (report, domain) in enumerate(self.ledger.reports.values(), start=1)
        ]
