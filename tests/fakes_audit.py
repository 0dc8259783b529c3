"""An audit trail in memory. It keeps to the contract suite of its port."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kannon.core.audit import AuditRecord
from kannon.core.errors import LedgerUnavailable
from kannon.ports import AuditFilter, AuditPage


@dataclass
class FakeAuditTrail:
    """Records by number; `away` makes it answer nothing.

    Attributes:
        writes: how many records came at once, each time.
        prunings: how often something was to be forgotten.
        refused: how often it was asked while it was away.
    """

    records: dict[int, AuditRecord] = field(default_factory=dict)
    writes: list[int] = field(default_factory=list)
    looked_at: int = 20_000
    away: bool = False
    refused: int = 0
    prunings: int = 0

    async def write(self, records: Sequence[AuditRecord]) -> None:
        """See `ports.AuditTrail`."""
        self._answer()
        self.writes.append(len(records))
        start = max(self.records, default=0) + 1
        self.records.update(enumerate(records, start))

    async def page(self, wanted: AuditFilter, before: tuple[datetime, int] | None, take: int) -> AuditPage:
        """See `ports.AuditTrail`."""
        self._answer()
        everything = sorted(((one.at, number, one) for number, one in self.records.items()), reverse=True)
        looked_at = [
            (at, number, one)
            for at, number, one in everything
            if (before is None or (at, number) < before)
            and (wanted.since is None or at >= wanted.since)
            and (wanted.until is None or at < wanted.until)
            and wanted.domain in ("", one.domain)
        ][: self.looked_at]
        found = [(number, one) for _, number, one in looked_at if _matches(one, wanted)]
        if len(found) > take:
            number, last = found[take - 1]
            return AuditPage(found[:take], (last.at, number))
        is_cut = len(looked_at) == self.looked_at
        return AuditPage(found, looked_at[-1][:2] if is_cut else None)

    async def forget(self, limit: int, before: datetime) -> int:
        """See `ports.AuditTrail`."""
        self._answer()
        self.prunings += 1
        old = sorted(number for number, one in self.records.items() if one.at < before)[:limit]
        for number in old:
            del self.records[number]
        return len(old)

    def _answer(self) -> None:
        if self.away:
            self.refused += 1
            raise LedgerUnavailable("away")


def _matches(one: AuditRecord, wanted: AuditFilter) -> bool:
    return (
        one.procedure.endswith(wanted.procedure)
        and wanted.decision in (None, one.decision)
        and wanted.key_id in ("", one.key_id)
        and wanted.client in ("", one.client)
    )
