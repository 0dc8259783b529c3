"""What the gateway needs from outside, in memory. Each keeps to the contract suite of its port."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from api_gateway.credentials import is_active
from kannon.core.batches import KEYS_KEPT_FOR, Body, KeyedAnswer, NewBatch
from kannon.core.errors import BodyGone, Conflict, EventsUnavailable, LedgerUnavailable
from kannon.core.limits import UNLIMITED, Limits, MailCount, OwnLimits, check_count
from kannon.core.payloads import AnyPayload
from kannon.core.tracking.policy import DEFAULT_POLICY, Policy
from kannon.ports import DomainRecord, KeyRecord, StatsCount, StatsRow, TemplateRecord


@dataclass
class FakeDirectory:
    """Domains and keys; `away` makes it answer nothing."""

    records: dict[str, DomainRecord] = field(default_factory=dict)
    private_keys: dict[str, bytes] = field(default_factory=dict)
    records_of_keys: dict[bytes, KeyRecord] = field(default_factory=dict)
    limits_of: dict[str, OwnLimits] = field(default_factory=dict)
    away: bool = False

    async def add_domain(self, name: str, dkim_private_key: bytes, dkim_public_key: str) -> DomainRecord:
        """See `ports.Directory`."""
        self._answer()
        if name in self.records:
            raise Conflict(f"the domain {name} exists already")
        self.private_keys[name] = dkim_private_key
        self.records[name] = DomainRecord(name, dkim_public_key, datetime.now(UTC), DEFAULT_POLICY)
        return self.records[name]

    async def domain(self, name: str) -> DomainRecord | None:
        """See `ports.Directory`."""
        self._answer()
        return self.records.get(name)

    async def domains(self) -> Sequence[DomainRecord]:
        """See `ports.Directory`."""
        self._answer()
        return [self.records[name] for name in sorted(self.records)]

    async def set_tracking(self, name: str, policy: Policy) -> DomainRecord | None:
        """See `ports.Directory`."""
        self._answer()
        if name in self.records:
            self.records[name] = replace(self.records[name], tracking=policy)
        return self.records.get(name)

    async def add_key(self, record: KeyRecord, key_hash: bytes) -> None:
        """See `ports.Directory`."""
        self._answer()
        if record.domain not in self.records:
            raise Conflict(f"there is no domain {record.domain}")
        self.records_of_keys[key_hash] = record

    async def key(self, domain: str, key_hash: bytes) -> tuple[KeyRecord, OwnLimits] | None:
        """See `ports.Directory`."""
        self._answer()
        record = self.records_of_keys.get(key_hash)
        return (record, self._limits(domain)) if record and record.domain == domain else None

    async def key_named(self, domain: str, key_id: str) -> KeyRecord | None:
        """See `ports.Directory`."""
        self._answer()
        found = (key for key in self.records_of_keys.values() if (key.domain, key.id) == (domain, key_id))
        return next(found, None)

    async def keys(
        self, domain: str, skip: int, take: int, active_at: datetime | None = None
    ) -> tuple[int, Sequence[KeyRecord]]:
        """See `ports.Directory`."""
        self._answer()
        found = [
            key
            for key in self.records_of_keys.values()
            if key.domain == domain and (active_at is None or is_active(key, active_at))
        ]
        found.sort(key=lambda key: (-key.created_at.timestamp(), key.id))
        return len(found), found[skip : skip + take]

    async def deactivate_key(self, domain: str, key_id: str, now: datetime) -> KeyRecord | None:
        """See `ports.Directory`."""
        record = await self.key_named(domain, key_id)
        if record is None or record.deactivated_at is not None:
            return record
        ended = replace(record, deactivated_at=now)
        hashes = [key_hash for key_hash, key in self.records_of_keys.items() if key == record]
        self.records_of_keys[hashes[0]] = ended
        return ended

    async def limits(self, domain: str) -> OwnLimits | None:
        """See `ports.Directory`."""
        self._answer()
        return self._limits(domain) if domain in self.records else None

    async def set_limits(self, domain: str, limits: OwnLimits) -> bool:
        """See `ports.Directory`."""
        self._answer()
        self.limits_of[domain] = limits
        return domain in self.records

    def _limits(self, domain: str) -> OwnLimits:
        return self.limits_of.get(domain, OwnLimits())

    def _answer(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")


@dataclass
class FakeTemplates:
    """Templates and bodies, numbered from 1, for the Domains that there are; `used` are bodies of Batches."""

    domains: set[str] = field(default_factory=set)
    records: dict[str, TemplateRecord] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    bodies: dict[int, Body] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    made: int = 0

    async def add(self, template_id: str, domain: str, title: str, body: Body) -> TemplateRecord:
        """See `ports.Templates`."""
        if domain not in self.domains:
            raise Conflict(f"there is no domain {domain}")
        self.numbers[template_id] = self._add_body(body)
        self.records[template_id] = TemplateRecord(template_id, domain, "template", title, body)
        return self.records[template_id]

    async def update(self, template_id: str, title: str | None, body: Body | None) -> TemplateRecord | None:
        """See `ports.Templates`."""
        if (record := self.records.get(template_id)) is None:
            return None
        if title is not None:
            record = replace(record, title=title)
        if body is not None:
            before, self.numbers[template_id] = self.numbers[template_id], self._add_body(body)
            record = replace(record, body=body)
            self._forget(before)
        self.records[template_id] = record
        return record

    async def delete(self, template_id: str) -> TemplateRecord | None:
        """See `ports.Templates`."""
        record = self.records.pop(template_id, None)
        if record is not None:
            self._forget(self.numbers.pop(template_id))
        return record

    async def template(self, template_id: str) -> TemplateRecord | None:
        """See `ports.Templates`."""
        return self.records.get(template_id)

    async def curated(self, domain: str, skip: int, take: int) -> tuple[int, Sequence[TemplateRecord]]:
        """See `ports.Templates`."""
        found = [
            record
            for record in self.records.values()
            if record.domain == domain and record.type == "template"
        ]
        return len(found), found[skip : skip + take]

    async def body_of(self, template_id: str, domain: str) -> int | None:
        """See `ports.Templates`."""
        record = self.records.get(template_id)
        return self.numbers[template_id] if record and record.domain == domain else None

    async def body(self, number: int) -> Body | None:
        """See `ports.Templates`."""
        return self.bodies.get(number)

    def _add_body(self, body: Body) -> int:
        self.made += 1
        self.bodies[self.made] = body
        return self.made

    def _forget(self, number: int) -> None:
        if number not in self.used and number not in self.numbers.values():
            del self.bodies[number]


@dataclass
class FakeIntake:
    """Batches, numbered from 1; `away` makes it take nothing.

    Attributes:
        stored: the numbers of bodies that Batches may ask for.
    """

    batches: list[NewBatch] = field(default_factory=list)
    marked: dict[int, int] = field(default_factory=dict)
    answers: dict[tuple[str, str], KeyedAnswer] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)
    mails: Counter[str] = field(default_factory=Counter)
    away: bool = False

    async def accept(
        self, batch: NewBatch, keyed: KeyedAnswer | None = None, limits: Limits = UNLIMITED
    ) -> int | KeyedAnswer:
        """See `ports.Intake`; it knows one minute and day, which never ends."""
        self._answer()
        if keyed and (earlier := await self.answered(keyed.domain, keyed.key, keyed.at)) is not None:
            return earlier
        if isinstance(batch.body, int) and batch.body not in self.stored:
            raise BodyGone
        mails = self.mails[batch.domain] + len(batch.recipients)
        check_count(MailCount(mails, mails, 60, 60), len(batch.recipients), limits)
        self.mails[batch.domain] = mails
        if keyed is not None:
            self.answers[keyed.domain, keyed.key] = keyed
        self.batches.append(batch)
        return len(self.batches)

    async def answered(self, domain: str, key: str, now: datetime) -> KeyedAnswer | None:
        """See `ports.Intake`."""
        self._answer()
        answer = self.answers.get((domain, key))
        return answer if answer and now < answer.at + KEYS_KEPT_FOR else None

    async def announced(self, batch: int, next_seq: int) -> None:
        """See `ports.Intake`."""
        self._answer()
        self.marked[batch] = next_seq

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
    """A stream as full as is said, with so many chunks of each kind in it; `away` makes it answer nothing."""

    full: float = 0.0
    chunks: int = 0
    away: bool = False
    asked: int = 0
    looks: int = 0

    async def fullness(self, kind: type[AnyPayload]) -> float:
        """See `ports.StreamRoom`."""
        self.asked += 1
        if self.away:
            raise EventsUnavailable("away")
        return self.full

    async def waiting(self, kind: type[AnyPayload]) -> int:
        """See `ports.StreamRoom`."""
        self.looks += 1
        if self.away:
            raise EventsUnavailable("away")
        return self.chunks
