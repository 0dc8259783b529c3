"""Suppressions in memory. They keep to the same contract suites as those in PostgreSQL."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kannon.core.deliveries import DeliveryId
from kannon.core.suppression import Happening, Reason, Suppression, merged, merged_by_address
from kannon.ports import SuppressionFilter, SuppressionPage


@dataclass
class FakeSuppressions:
    """Suppressions by Domain and address, soft bounces likewise, and what was told of them.

    Attributes:
        asked: how many addresses were asked for, call by call.
    """

    records: dict[tuple[str, str], Suppression] = field(default_factory=dict)
    bounces: dict[tuple[str, str, DeliveryId], datetime] = field(default_factory=dict)
    told: list[tuple[str, Suppression]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    async def any(self, domain: str) -> bool:
        """See `ports.Suppressions`."""
        return any(place[0] == domain for place in self.records)

    async def reasons(self, domain: str, addresses: Collection[str], now: datetime) -> Mapping[str, Reason]:
        """See `ports.Suppressions`."""
        self.asked.append(len(addresses))
        found = (await self.suppression(domain, address, now) for address in addresses)
        return {one.address: one.reason async for one in found if one}

    async def suppression(self, domain: str, address: str, now: datetime) -> Suppression | None:
        """See `ports.Suppressions`."""
        found = self.records.get((domain, address))
        return found if found and found.holds(now) else None

    async def page(self, wanted: SuppressionFilter, after: str, take: int, now: datetime) -> SuppressionPage:
        """See `ports.Suppressions`."""
        found = [
            one
            for _, one in sorted(self.records.items())
            if one.domain == wanted.domain
            and one.holds(now)
            and one.address > after
            and one.address.startswith(wanted.prefix)
            and one.created_at >= wanted.since
            and wanted.reason in (None, one.reason)
        ]
        return SuppressionPage(found[:take], found[take - 1].address if len(found) > take else "")

    async def add(self, suppressions: Sequence[Suppression], now: datetime) -> int:
        """See `ports.Suppressions`."""
        return self.write(suppressions, now)

    async def remove(self, domain: str, address: str, now: datetime) -> Suppression | None:
        """See `ports.Suppressions`."""
        if (found := await self.suppression(domain, address, now)) is None:
            return None
        del self.records[domain, address]
        self.bounces = {key: at for key, at in self.bounces.items() if key[:2] != (domain, address)}
        self.told.append(("removed", found))
        return found

    def write(self, suppressions: Iterable[Suppression], now: datetime) -> int:
        """As `LedgerWork.suppress`; gives how many changed."""
        changed = 0
        for new in merged_by_address(suppressions, now):
            known = self.records.get((new.domain, new.address))
            after = merged(known, new, now)
            if after != known:
                self.records[new.domain, new.address] = after
                self.told.append(("added", after))
                changed += 1
        return changed

    def note(self, bounces: Sequence[Happening], window: timedelta) -> Sequence[int]:
        """As `LedgerWork.note_soft_bounces`."""
        for one in bounces:
            assert one.delivery is not None
            self.bounces.setdefault((one.domain, one.address, one.delivery), one.at)
        return [
            sum(
                key[:2] == (one.domain, one.address) and one.at - window < at <= one.at
                for key, at in self.bounces.items()
            )
            for one in bounces
        ]
