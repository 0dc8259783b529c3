"""What the gateway needs from outside, in memory. Each keeps to the contract suite of its port."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kannon.core.batches import NewBatch
from kannon.core.errors import Conflict, EventsUnavailable, LedgerUnavailable
from kannon.core.payloads import AnyPayload
from kannon.ports import DomainRecord, KeyRecord, StatsCount, StatsRow


@dataclass
class FakeDirectory:
    """Domains and keys; `away` makes it answer nothing."""

    records: dict[str, DomainRecord] = field(default_factory=dict)
    private_keys: dict[str, bytes] = field(default_factory=dict)
    keys: dict[bytes, KeyRecord] = field(default_factory=dict)
    away: bool = False

    async def add_domain(self, name: str, dkim_private_key: bytes, dkim_public_key: str) -> DomainRecord:
        """See `ports.Directory`."""
        self._answer()
        if name in self.records:
            raise Conflict(f"the domain {name} exists already")
        self.private_keys[name] = dkim_private_key
        self.records[name] = DomainRecord(name, dkim_public_key, datetime.now(UTC))
        return self.records[name]

    async def domain(self, name: str) -> DomainRecord | None:
        """See `ports.Directory`."""
        self._answer()
        return self.records.get(name)

    async def domains(self) -> Sequence[DomainRecord]:
        """See `ports.Directory`."""
        self._answer()
        return [self.records[name] for name in sorted(self.records)]

    async def add_key(self, record: KeyRecord, key_hash: bytes) -> None:
        """See `ports.Directory`."""
        self._answer()
        if record.domain not in self.records:
            raise Conflict(f"there is no domain {record.domain}")
        self.keys[key_hash] = record

    async def key(self, domain: str, key_hash: bytes) -> KeyRecord | None:
        """See `ports.Directory`."""
        self._answer()
        record = self.keys.get(key_hash)
        return record if record and record.domain == domain else None

    def _answer(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")


@dataclass
class FakeIntake:
    """Batches, numbered from 1; `away` makes it take nothing."""

    batches: list[NewBatch] = field(default_factory=list)
    marked: list[int] = field(default_factory=list)
    away: bool = False

    async def accept(self, batch: NewBatch) -> int:
        """See `ports.Intake`."""
        self._answer()
        self.batches.append(batch)
        return len(self.batches)

    async def announced(self, batch: int) -> None:
        """See `ports.Intake`."""
        self._answer()
        if batch not in self.marked:
            self.marked.append(batch)

    def _answer(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")


@dataclass
class FakeStatsQueries:
    """Outcomes and counts as they were put in; counts with the domain they are of."""

    outcomes: list[StatsRow] = field(default_factory=list)
    hours: list[tuple[str, StatsCount]] = field(default_factory=list)

    async def rows(
        self, domain: str, start: datetime, end: datetime, skip: int, take: int
    ) -> tuple[int, Sequence[StatsRow]]:
        """See `ports.StatsQueries`."""
        found = [row for row in self.outcomes if row.domain == domain and start <= row.at < end]
        found.sort(key=lambda row: row.at)
        return len(found), found[skip : skip + take]

    async def counts(self, domain: str, start: datetime, end: datetime) -> Sequence[StatsCount]:
        """See `ports.StatsQueries`."""
        found = [count for name, count in self.hours if name == domain and start <= count.hour < end]
        return sorted(found, key=lambda count: (count.hour, count.type))


@dataclass
class FakeRoom:
    """A stream as full as is said; `away` makes it answer nothing."""

    full: float = 0.0
    away: bool = False
    asked: int = 0

    async def fullness(self, kind: type[AnyPayload]) -> float:
        """See `ports.StreamRoom`."""
        self.asked += 1
        if self.away:
            raise EventsUnavailable("away")
        return self.full

    async def waiting(self, kind: type[AnyPayload]) -> int:
        """See `ports.StreamRoom`."""
        return 0
