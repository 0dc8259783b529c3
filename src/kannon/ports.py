"""What the stages need from outside, as Protocols. Adapters implement them; tests have fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from kannon.core.access import Role
from kannon.core.answers import Answer
from kannon.core.batches import BatchContent, Body, Delivery, KeyedAnswer, Move, NewBatch, Outcome
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.envelopes import Envelope
from kannon.core.exchangers import Exchanger
from kannon.core.limits import UNLIMITED, Limits, OwnLimits
from kannon.core.payloads import AnyPayload, Candidate, Engagement, ReportJudged, ReportRecipient
from kannon.core.reports.values import Kind, Reported
from kannon.core.suppression import Happening, Reason, Suppression
from kannon.core.tracking.policy import Mode, Policy

if TYPE_CHECKING:  # the gateway has these; functions need not load them
    from zoneinfo import ZoneInfo

    from kannon.core.audit import AuditRecord, Decision
    from kannon.core.dead_letters import DeadLetter, Retried
    from kannon.core.diagnosis import EdgeDiagnosis, LedgerDiagnosis, StreamsDiagnosis
    from kannon.core.statistics import (
        BatchFilter,
        BatchPage,
        Event,
        EventFilter,
        EventPage,
        Interval,
        Latencies,
        LogPage,
        LogPlace,
        Place,
        Point,
        Question,
        Tally,
    )
    from kannon.core.tracking.keys import DatedKey  # dispatch has these
    from kannon.core.webhooks import Endpoint, Health, PostResult


class Clock(Protocol):
    """Tells the time, aware and in UTC."""

    def __call__(self) -> datetime:
        """Now."""


class EventPublisher(Protocol):
    """Publishes events to their streams."""

    async def publish(self, payload: AnyPayload, traceparent: str = "") -> int:
        """Publish, and wait until the stream has stored it.

        Returns:
            The sequence number in its stream.

        Raises:
            EventsUnavailable: NATS is away, or the stream is full; nothing is known to be stored.
        """


class EventSink(Protocol):
    """Takes events by HTTP."""

    async def post(self, attributes: Mapping[str, str], data: bytes) -> Answer:
        """Post one event in binary mode; whatever goes wrong is an answer, too.

        Args:
            attributes: its headers, as in `ce-id`, and `content-type`.
        """


class StreamRoom(Protocol):
    """Tells how full the stages' streams are."""

    async def fullness(self, kind: type[AnyPayload]) -> float:
        """From 0.0 (empty) to 1.0 (refuses more), of the stream that takes `kind`.

        Raises:
            EventsUnavailable: NATS is away.
        """

    async def waiting(self, kind: type[AnyPayload]) -> int:
        """Messages of just this kind that wait in the stream; raises EventsUnavailable."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """Which incarnation of a stream is there, and how far it has come."""

    name: str
    created: str
    last_seq: int


class StreamStates(Protocol):
    """Looks at the stages' streams, making those that are missing."""

    async def states(self) -> Sequence[StreamState]:
        """Every stage's stream; raises EventsUnavailable."""


class ExchangerLookup(Protocol):
    """Asks the DNS where mail for a domain goes."""

    async def exchangers(self, domain: str) -> Sequence[Exchanger]:
        """The exchangers of `domain` (A-labels), by a route, MX, or its own address (RFC 5321 §5.1).

        Raises:
            UndeliverableDomain: it takes no mail, for good.
            Unavailable: the DNS did not answer.
        """


class SubmitVerdict(StrEnum):
    """Whether the edge takes an Envelope."""

    TAKEN = "taken"
    UNTAKEN = "untaken"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    """What the edge says to one Envelope.

    Attributes:
        wait_ms: milliseconds after which an untaken one may be offered again; 0 for soon.
    """

    verdict: SubmitVerdict
    wait_ms: int = 0


class ObjectStore(Protocol):
    """The attachment store: octets by name. Every call raises StoreUnavailable."""

    async def put(self, name: str, octets: bytes) -> None:
        """Store an object, durably; it is there as a whole or not at all. A name says what its content is,
        so one that is there already, of that size, is left as it is."""

    async def get(self, name: str, most: int) -> bytes:
        """Up to `most` octets of an object, from its beginning.

        Raises:
            NoSuchObject: there is none of that name, though the store is there.
        """

    async def delete(self, name: str) -> None:
        """Delete an object; harmless if there is none."""

    async def names(self, beginning: str, most: int) -> Sequence[str]:
        """The first names, in their order, that begin so."""


class EdgeClient(Protocol):
    """Hands Envelopes to an edge."""

    async def submit(self, edge: str, envelopes: Sequence[Envelope]) -> Sequence[SubmitAnswer]:
        """One answer an Envelope, in order; what is taken is in the edge's journal.

        Raises:
            EdgeUnavailable: no answer; what was taken is not known, and submitting again is safe.
        """


ENGAGEMENTS_REMEMBERED = timedelta(days=35)
"""For so long the ids of those that left no row are known: longer than a dead letter is kept."""


class LedgerWork(Protocol):
    """One transaction over Deliveries. It commits when its context is left, rolls back on an exception."""

    async def lock_accepted(self, batch: int, seqs: Sequence[int]) -> Sequence[Delivery]:
        """Those of a Batch's Deliveries that still stand in `accepted`, locked; none if it was cancelled."""

    async def claim(self, limit: int, now: datetime) -> Sequence[Delivery]:
        """Up to `limit` scheduled Deliveries that are due and that nobody else works on, locked; of a
        cancelled Batch only those that may be out."""

    async def lock(self, deliveries: Sequence[DeliveryId]) -> Sequence[Delivery]:
        """These Deliveries, whatever their status, locked; unknown ones are left out."""

    async def room(self) -> int:
        """How many more Deliveries may be in hand."""

    async def batch(self, number: int) -> BatchContent:
        """What the Deliveries of a Batch share."""

    async def move(self, moves: Sequence[Move], now: datetime) -> None:
        """Write what was decided."""

    async def end_cancelled(self, deliveries: Sequence[DeliveryId]) -> None:
        """Cancel those of these that wait, are out nowhere, and belong to a Batch that was cancelled."""

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write Outcomes once each (`accepted`, and what is `TOLD_ONCE`: once of a Delivery), count the new
        ones, and put them into the outbox."""

    async def record_engagements(self, engagements: Sequence[Engagement], now: datetime) -> int:
        """Write opens and clicks once each by their `id`, count the new ones, and put those that have a row
        into the outbox.

        Under `identified` and `full` the row is of the Delivery, with its address, which is looked up here;
        under `pseudonymous` it has the pseudonym for an address and no Delivery. What is anonymous, or of a
        Delivery that is not there any more, is counted and leaves no row: its id is remembered. What a
        machine did has its row and is counted apart. Acts that are no Outcomes, and what says that nothing
        may be learnt, are passed over. No Delivery is locked.

        Args:
            engagements: up to an event's worth, in any order, of any Domains and Batches.
            now: from then on ids are remembered, for `ENGAGEMENTS_REMEMBERED`.

        Returns:
            How many were new.
        """

    async def remember_engagements(self, ids: Sequence[str], now: datetime) -> Collection[str]:
        """Remember engagements that have no row in the statistics, for `ENGAGEMENTS_REMEMBERED`; gives the
        ids of those that were not known."""

    async def reported(self, deliveries: Sequence[DeliveryId]) -> Mapping[DeliveryId, Collection[str]]:
        """Which Outcomes of those that are `TOLD_ONCE` these Deliveries have, where they have any."""

    async def keep_report(self, report: ReportJudged, domain: str) -> bool:
        """Keep a report for people to look at, and count its kind, once however often it comes; returns
        whether it came for the first time.

        Args:
            domain: the tenant that it concerns, or the domain that it came to.
        """

    async def note_soft_bounces(self, bounces: Sequence[Happening], window: timedelta) -> Sequence[int]:
        """Remember soft bounces, one of a Delivery; tells of each how many there were of its address within
        the `window` that ends with it, itself included."""

    async def suppress(self, suppressions: Sequence[Suppression], now: datetime) -> None:
        """Write suppressions, and put what changes by them into the outbox. Where an address is suppressed
        already both count (`core.suppression.merged`), so a repeat changes nothing; but it would suppress
        again what was removed meanwhile: give only what is learnt for the first time."""

    async def stranded(self, limit: int, now: datetime) -> Sequence[Delivery]:
        """Up to `limit` Deliveries in hand whose Envelope or result was lost, or that were without a result
        for a lease, locked."""

    async def anything_due(self, now: datetime) -> bool:
        """Whether scheduled Deliveries wait for room."""


class Ledger(Protocol):
    """The PostgreSQL tables of Deliveries: the truth about what is owed."""

    def work(self) -> AbstractAsyncContextManager[LedgerWork]:
        """A transaction; raises LedgerUnavailable when it cannot begin or commit."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A chunk of a Batch's Recipients to be announced to verify."""

    batch: int
    announcement: int
    recipients: tuple[Candidate, ...]
    traceparent: str


class Recovery(Protocol):
    """What the tick asks of the ledger, each call a transaction of its own; all raise LedgerUnavailable."""

    async def notice(self, states: Sequence[StreamState], seen_at: datetime) -> None:
        """Remember the streams; one that was recreated or went back has lost what was published before.

        Args:
            seen_at: when one began to look at them.
        """

    async def unannounced(self, limit: int, now: datetime) -> Sequence[Announcement]:
        """Up to `limit` chunks of Recipients that were committed but not announced, or whose announcement
        was lost or has been without any result for a lease."""

    async def announced(self, announcement: Announcement, now: datetime) -> None:
        """This chunk was published."""

    async def settle(self, pieces: int) -> int:
        """Go on with Batches that were cancelled or moved, and whose Deliveries do not all know: up to so
        many pieces of them, each a transaction; returns how many it were."""

    async def forget_keys(self, limit: int, now: datetime) -> int:
        """Delete up to `limit` idempotency keys whose time is over; returns how many that were."""

    async def forget_reports(self, limit: int, now: datetime) -> int:
        """Delete up to `limit` reports that are `REPORTS_KEPT_FOR` old, and up to as many of each kind beyond
        its newest `REPORTS_KEPT`; returns how many that were. Outcomes and counts stay."""


class AttachmentUses(Protocol):
    """Which attachments lie in the store; every call raises LedgerUnavailable.

    One that is noted before it is stored, and before its Batch is committed, is never taken from under it.
    """

    async def note(self, domain: str, sizes: Mapping[str, int], until: datetime) -> None:
        """These are going to be stored for a Batch; waits for whoever is just deleting one of them.

        Args:
            sizes: octets by digest.
            until: when the Batch expires.
        """

    async def collect(
        self, limit: int, now: datetime, delete: Callable[[str, str], Awaitable[None]]
    ) -> Sequence[tuple[str, str]]:
        """Delete up to `limit` attachments that no Batch needs any more, and forget them; tells which.

        Args:
            delete: deletes one from the store, by Domain and digest; what it raises ends the collection, and
                nothing is forgotten.
        """


class StatisticsUpkeep(Protocol):
    """What the tick does for the statistics; every call raises LedgerUnavailable."""

    async def merge(self, pieces: int) -> int:
        """Bring counts that wait into the rollups, up to so many pieces, each a transaction; returns how many
        it were. What is asked for counts both, so nothing changes by it."""

    async def sum_up(self, now: datetime) -> None:
        """Sum hours up to days, and days to months, that are over; a long range is then read quickly."""

    async def make_months(self, now: datetime) -> None:
        """Have room for the Outcomes of this month and the next."""

    async def forget(self, limit: int, now: datetime) -> int:
        """Drop the oldest month if all of it is older than the retention, and up to `limit` of each that is
        remembered beside; returns how much that was. Counts stay."""


class Outbox(Protocol):
    """Publishes committed Outcomes."""

    def nudge(self) -> None:
        """There is something to publish; returns at once."""

    async def drain(self) -> int:
        """Publish all that waits; returns how many rows that were. Raises Unavailable."""


class SigningKeys(Protocol):
    """The keys that tracking tokens are signed with; every call raises LedgerUnavailable."""

    async def signing_keys(self) -> Sequence[DatedKey]:
        """All that may have to sign, the oldest first."""

    async def rotate(self, now: datetime) -> bool:
        """Make the next key, if it is time for one and none has made it, and delete those of which no token
        lives; returns whether one was made. Afterwards there is at least one."""


class PublicKeys(Protocol):
    """The keys that tracking tokens are read with."""

    async def public_keys(self) -> Mapping[str, bytes]:
        """Each key of which tokens may live, 32 octets, by its id; raises LedgerUnavailable."""


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A sending tenant.

    Attributes:
        tracking: the most that may be learnt of its readers.
    """

    name: str
    dkim_public_key: str
    created_at: datetime
    tracking: Policy


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key, without the key.

    Attributes:
        prefix: its first 8 characters.
    """

    id: str
    prefix: str
    name: str
    domain: str
    created_at: datetime
    expires_at: datetime | None
    deactivated_at: datetime | None
    role: Role = Role.DEFAULT


class Directory(Protocol):
    """Domains and their keys. Every call raises LedgerUnavailable when PostgreSQL is away."""

    async def add_domain(self, name: str, dkim_private_key: bytes, dkim_public_key: str) -> DomainRecord:
        """A new Domain; the private key (PKCS #8 DER) is kept sealed. Raises Conflict if it exists."""

    async def domain(self, name: str) -> DomainRecord | None:
        """The Domain of that name."""

    async def domains(self) -> Sequence[DomainRecord]:
        """All Domains, by name."""

    async def set_tracking(self, name: str, policy: Policy) -> DomainRecord | None:
        """Give a Domain another Tracking Policy, for what is accepted from now on; None if it does not
        exist."""

    async def add_key(self, record: KeyRecord, key_hash: bytes) -> None:
        """A new key of an existing Domain; `key_hash` is SHA-256 of the whole key."""

    async def key(self, domain: str, key_hash: bytes) -> tuple[KeyRecord, OwnLimits] | None:
        """The key of `domain` with that hash, whatever its state, and what its Domain may send."""

    async def key_named(self, domain: str, key_id: str) -> KeyRecord | None:
        """The key of `domain` with that id, whatever its state."""

    async def keys(
        self, domain: str, skip: int, take: int, active_at: datetime | None = None
    ) -> tuple[int, Sequence[KeyRecord]]:
        """How many keys `domain` has, and a page of them, newest first.

        Args:
            active_at: leave out what was deactivated, and what has expired by then.
        """

    async def deactivate_key(self, domain: str, key_id: str, now: datetime) -> KeyRecord | None:
        """End a key for good, and give it as it is then; None if `domain` has none of that id.

        One that was deactivated before keeps the time of that.
        """

    async def limits(self, domain: str) -> OwnLimits | None:
        """What was set for a Domain; None if there is no such Domain."""

    async def set_limits(self, domain: str, limits: OwnLimits) -> bool:
        """Set them, from the next call on; gives whether there is such a Domain."""


class IssuerKeys(Protocol):
    """The public keys of an OIDC issuer, as it publishes them."""

    async def keys(self, key_id: str) -> Sequence[Mapping[str, Any]]:
        """Those that a token may be signed with, each a JSON Web Key (RFC 7517).

        Args:
            key_id: which the token names; empty: none, so that it may be any.

        Raises:
            IssuerUnavailable: they are not known, and cannot be asked for now.
        """


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records to list; what is empty or None leaves it open.

    Attributes:
        procedure: how the name of the procedure ends.
        since, until: half-open [since, until).
    """

    domain: str = ""
    procedure: str = ""
    decision: Decision | None = None
    key_id: str = ""
    client: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records, newest first, each with its number.

    Attributes:
        next: where the next page begins; None at the end.
    """

    records: Sequence[tuple[int, AuditRecord]]
    next: tuple[datetime, int] | None


class AuditTrail(Protocol):
    """Decisions about calls, kept for a while; every call raises LedgerUnavailable."""

    async def write(self, records: Sequence[AuditRecord]) -> None:
        """Write records, some thousands at the most; if it raises, they may have been written."""

    async def page(self, wanted: AuditFilter, before: tuple[datetime, int] | None, take: int) -> AuditPage:
        """Up to `take` records.

        It looks at a bounded number of them, so a page may be short, or empty, though more follow.

        Args:
            before: what the page before gave as `next`; None for the first.
        """

    async def forget(self, limit: int, before: datetime) -> int:
        """Delete up to `limit` records that are older; returns how many that were."""


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """A Template as it stands.

    Attributes:
        template_id: `<id>@<domain>`.
        type: `template` if it is curated, `transient` if it was made from one call's HTML.
    """

    template_id: str
    domain: str
    type: str
    title: str
    body: Body


class Templates(Protocol):
    """Templates, and the bodies that they are names for. A body never changes, and stays for as long as a
    Batch uses it. Every call raises LedgerUnavailable when PostgreSQL is away."""

    async def add(self, template_id: str, domain: str, title: str, body: Body) -> TemplateRecord:
        """A new curated Template; raises Conflict if there is no such Domain."""

    async def update(self, template_id: str, title: str | None, body: Body | None) -> TemplateRecord | None:
        """Give a Template another title, body or both, and answer with it; None if it does not exist."""

    async def delete(self, template_id: str) -> TemplateRecord | None:
        """Delete a Template, and answer with it as it was; None if it does not exist."""

    async def template(self, template_id: str) -> TemplateRecord | None:
        """The Template of that name."""

    async def curated(self, domain: str, skip: int, take: int) -> tuple[int, Sequence[TemplateRecord]]:
        """How many curated Templates a Domain has in all, and a page of them, oldest first."""

    async def body_of(self, template_id: str, domain: str) -> int | None:
        """The number of the body of a Domain's Template, of either type."""

    async def body(self, number: int) -> Body | None:
        """The body of that number."""


class Intake(Protocol):
    """Where the gateway leaves what it accepted."""

    async def accept(
        self, batch: NewBatch, keyed: KeyedAnswer | None = None, limits: Limits = UNLIMITED
    ) -> int | KeyedAnswer:
        """Write Batch, transient Template, Deliveries and answer in one transaction.

        Args:
            keyed: what to answer should the call be repeated, where it has a key. Calls that have the same
                key at the same time wait for one another.
            limits: the Domain's. Where it has any, its calls wait for one another, and are counted together
                whichever gateway they come by.

        Returns:
            The Batch's number; Deliveries are numbered from 0 in the order given. Or the answer that an
            earlier call had with the key; then nothing was written.

        Raises:
            LimitReached: the Domain may not send that many now; nothing was written or counted.
            BodyGone: there is no body of that number; nothing was written.
            LedgerUnavailable: nothing was written, or the answer of PostgreSQL to the commit was lost.
        """

    async def answered(self, domain: str, key: str, now: datetime) -> KeyedAnswer | None:
        """What a call with this key was answered, until its time is over; raises LedgerUnavailable."""

    async def announced(self, batch: int, next_seq: int) -> None:
        """This Batch's Recipients below `next_seq` were announced once; the tick leaves the rest alone for a
        while, half a minute."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A Batch as the ledger has it.

    Attributes:
        scheduled_at: when it was asked for or moved to last.
        cancelled_at: None if it was not.
        retry_budget: the span from when its Deliveries are scheduled to when they expire.
        counts: its Deliveries by status, where there are any.
        untried: those that wait for their first Attempt, and may be moved to another time.
    """

    number: int
    message_id: str
    subject: str
    template_id: str
    scheduled_at: datetime
    accepted_at: datetime
    cancelled_at: datetime | None
    retry_budget: timedelta
    counts: Mapping[Status, int]
    untried: int

    @property
    def total(self) -> int:
        """All its Deliveries."""
        return sum(self.counts.values())

    @property
    def cancelled(self) -> int:
        """Those that were cancelled."""
        return self.counts.get(Status.CANCELLED, 0)

    @property
    def ended(self) -> int:
        """Those that have ended in another way."""
        return sum(count for status, count in self.counts.items() if status.is_terminal) - self.cancelled


class Batches(Protocol):
    """Whole Batches, after they were accepted; every call raises LedgerUnavailable."""

    async def batch(self, domain: str, message_id: str) -> BatchRecord | None:
        """The Batch of that name, if it is one of `domain`."""

    async def cancel(self, number: int, now: datetime) -> None:
        """Cancel a Batch: once this has returned, nothing more of it is begun, and all that waited and was
        out nowhere is cancelled. If it does not return, the tick goes on. Done twice, it changes nothing."""

    async def reschedule(self, number: int, at: datetime) -> bool:
        """Move those that wait for their first Attempt to another time, their Retry Budget with them.

        Returns:
            False if it was cancelled; then nothing is moved.
        """


@dataclass(frozen=True, slots=True)
class StatsRow:
    """One Outcome as the Stats API tells it.

    Attributes:
        email: the Recipient's address, or a pseudonym.
        mode: under which an open or a click was recorded; None for other types.
    """

    message_id: str
    domain: str
    email: str
    at: datetime
    type: str
    data: dict[str, object]
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class StatsCount:
    """Outcomes of a type within an hour."""

    type: str
    hour: datetime
    count: int


class StatsQueries(Protocol):
    """Reads the statistics; times are half-open [start, end). What machines opened and clicked is left out.
    Every call raises LedgerUnavailable."""

    async def rows(
        self, domain: str, start: datetime, end: datetime, skip: int, take: int
    ) -> tuple[int, Sequence[StatsRow]]:
        """How many Outcomes there are in all, and a page of them, oldest first."""

    async def counts(self, domain: str, start: datetime, end: datetime) -> Sequence[StatsCount]:
        """Counts by hour and type, hours in order."""


class StatisticsQueries(Protocol):
    """Counts, rates and single Events of a Domain, what machines did among them; every call raises
    LedgerUnavailable. Counts stay for good, Events for `stats.retention`."""

    async def breakdown(self, wanted: Question, take: int) -> Sequence[Tally]:
        """Counts by the value of the dimension, over the whole range: up to `take`, those with the most that
        has ended first. Of a Batch that is not one of the Domain's there is nothing. What no exchanger said,
        such as opens, counts for the provider that last answered for the recipient's domain, or for none
        until the tick has learnt that."""

    async def series(self, wanted: Question, interval: Interval, zone: ZoneInfo) -> Sequence[Point]:
        """Counts by interval, in order, and by the value of the dimension, of which up to `SERIES_AT_ONCE`
        are named, unless it is `all`; where nothing was there is no point. An hour belongs to the interval
        that it begins in, also where a zone differs by half an hour. Days of another zone than UTC are read
        by the hour: more than 10,000 hours, those of each value counted, take more than a moment."""

    async def latencies(self, wanted: Question, take: int) -> Mapping[str, Latencies]:
        """How long it took to deliver, by the value of the dimension: `all`, `template`, `provider` or
        `batch`; up to `take`, those with the most mails."""

    async def timeline(self, domain: str, delivery: DeliveryId) -> Sequence[Event]:
        """All Events of a Delivery, oldest first; the last `TIMELINE_SHOWN` of them."""

    async def events(self, wanted: EventFilter, start: Place | None, take: int) -> EventPage:
        """Up to `take` Events, newest first; those of a Batch, where one is named, in the order of its
        Deliveries.

        It looks at a bounded number of them, so a page may be short, or empty, though more follow.

        Args:
            start: what the page before gave as `next`; None for the first.
        """

    def export(self, wanted: EventFilter) -> AsyncIterator[Sequence[Event]]:
        """All Events, page by page, in the order of `events`; those that come in between may be missed."""

    async def batches(self, wanted: BatchFilter, after: int | None, take: int) -> BatchPage:
        """Up to `take` Batches, newest first. It looks at a bounded number of them, so a page may be short,
        or empty, though more follow.

        Args:
            after: what the page before gave as `next`; None for the first.
        """


class OutcomeLog(Protocol):
    """All Events of a Domain in the order of commit, so that who reads on misses nothing; every call raises
    LedgerUnavailable."""

    async def page(self, domain: str, after: LogPlace | None, take: int) -> LogPage:
        """Up to `take` of them; fewer only where there are no more yet. None that is committed later stands
        before one that was given.

        Args:
            after: None: from the beginning of what is kept.

        Raises:
            CursorAhead: this database has not come so far.
        """

    async def end(self) -> LogPlace:
        """A place behind which all stands that is committed from now on."""


SERIES_AT_ONCE = 5
TIMELINE_SHOWN = 1000

_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which Deliveries of a Domain to look at; at least one of `batch` and `email` is given.

    Attributes:
        batch: all of this Batch; None: of all Batches that were accepted at `since` or later.
        email: an address as intake wrote it; None: any.
    """

    domain: str
    batch: int | None
    email: str | None = None
    status: Status | None = None
    since: datetime = _ALWAYS


OUTCOMES_SHOWN = 50
"""Of one Delivery, with it; the statistics have them all."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A Delivery as the ledger has it.

    Attributes:
        attempts: tries whose result is known.
        outcomes: the last ones, `OUTCOMES_SHOWN` at the most, oldest first.
        cancelled_at: when its Batch was, if that is how it ended.
    """

    id: DeliveryId
    message_id: str
    email: str
    status: Status
    attempts: int
    due_at: datetime
    expires_at: datetime
    outcomes: tuple[StatsRow, ...]
    cancelled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some Deliveries.

    Attributes:
        next: where the next page begins; None at the end.
    """

    deliveries: Sequence[DeliveryRecord]
    next: DeliveryId | None


class DeliveryQueries(Protocol):
    """Looks at Deliveries without touching them; every call raises LedgerUnavailable."""

    async def batch(self, domain: str, message_id: str) -> int | None:
        """The number of the Batch of that name, if it is one of `domain`."""

    async def page(self, wanted: DeliveryFilter, start: DeliveryId | None, take: int) -> DeliveryPage:
        """Up to `take` Deliveries and their Outcomes: Batches newest first, within each by number.

        It looks at a bounded number of Deliveries, so a page may be short, or empty, though more follow.

        Args:
            start: what the page before gave as `next`; None for the first.
        """

    async def total(self, wanted: DeliveryFilter) -> int:
        """How many Deliveries of one Batch match, all pages together."""


@dataclass(frozen=True, slots=True)
class SuppressionFilter:
    """Which suppressions of a Domain to list.

    Attributes:
        reason: None: any.
        prefix: how an address begins, in lower case; empty: anyhow.
        since: those that came about at this time or later.
    """

    domain: str
    reason: Reason | None = None
    prefix: str = ""
    since: datetime = _ALWAYS


@dataclass(frozen=True, slots=True)
class SuppressionPage:
    """Some suppressions.

    Attributes:
        next: the address behind which the next page begins; empty at the end.
    """

    suppressions: Sequence[Suppression]
    next: str


class Suppressions(Protocol):
    """Addresses that a Domain does not send to, in canonical form; what has expired is not there. Every call
    raises LedgerUnavailable."""

    async def any(self, domain: str) -> bool:
        """Whether a Domain has any at all; what has expired may count."""

    async def reasons(self, domain: str, addresses: Collection[str], now: datetime) -> Mapping[str, Reason]:
        """Those of these addresses that are suppressed, some thousands at the most, and why."""

    async def suppression(self, domain: str, address: str, now: datetime) -> Suppression | None:
        """The suppression of an address."""

    async def page(self, wanted: SuppressionFilter, after: str, take: int, now: datetime) -> SuppressionPage:
        """Up to `take` suppressions by address.

        It looks at a bounded number of them, so a page may be short, or empty, though more follow.

        Args:
            after: what the page before gave as `next`; empty for the first.
        """

    async def add(self, suppressions: Sequence[Suppression], now: datetime) -> int:
        """Write suppressions as `LedgerWork.suppress` does, of a Domain that exists; returns for how many
        addresses something changed."""

    async def remove(self, domain: str, address: str, now: datetime) -> Suppression | None:
        """End a suppression, forget the soft bounces of its address, and put it into the outbox; returns it
        as it was, None if there was none."""


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Some dead letters, oldest first.

    Attributes:
        total: how many there are from the beginning of this page on.
    """

    letters: Sequence[DeadLetter]
    total: int


class DeadLetterStore(Protocol):
    """Events that no stage would do; every call raises EventsUnavailable."""

    async def page(self, event: str, after: int, take: int) -> DeadLetterPage:
        """Up to `take` letters behind the one numbered `after`.

        Args:
            event: only those of this event; empty: of all.
        """

    async def letter(self, sequence: int) -> tuple[DeadLetter, bytes] | None:
        """A letter and its event's data; None if there is none of that number."""

    async def retry(self, sequence: int) -> Retried:
        """Put its event back into its stream, for just the items that were given up, and delete the letter
        once that is stored. Doing it twice is harmless.

        Raises:
            EventsUnavailable: it is not known to be stored, and the letter is still there.
        """

    async def drop(self, sequence: int) -> bool:
        """Delete a letter; gives whether there was one."""


REPORTS_KEPT = 1_000
"""Of each kind, the newest: so that a flood of one hides no other."""
REPORTS_KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A report that was kept.

    Attributes:
        number: its name; a later one has a greater number.
        at: when the edge took it.
        reason: why it is of this kind, where that is not plain.
        domain: the tenant that it concerns, or the domain that it came to.
        deliveries: those that it is about.
        told: what it says of whom.
        size: octets of all of it.
    """

    number: int
    at: datetime
    kind: Kind
    reason: str
    domain: str
    recipients: tuple[ReportRecipient, ...]
    deliveries: tuple[DeliveryId, ...]
    told: tuple[Reported, ...]
    sender: str
    client: str
    size: int


class Reports(Protocol):
    """Reports that were kept; every call raises LedgerUnavailable."""

    async def page(
        self, kind: Kind | None, domain: str, before: int | None, take: int
    ) -> Sequence[ReportRecord]:
        """Up to `take` reports, newest first.

        Args:
            kind: None: any.
            domain: empty: any.
            before: those below this number; None: from the newest on.
        """

    async def report(self, number: int) -> tuple[ReportRecord, bytes] | None:
        """A report and its octets from the beginning, as far as they are kept; None if it is not there."""

    async def counts(self, domain: str, since: datetime) -> Mapping[Kind, int]:
        """How many came, those included that are not kept any more, by kind where there are any.

        Args:
            domain: empty: all.
            since: from the hour on in which this lies.
        """


class LedgerLook(Protocol):
    """Counts what waits in the ledger."""

    async def look(self, now: datetime) -> LedgerDiagnosis:
        """As it is at one moment; raises LedgerUnavailable."""


class StreamsLook(Protocol):
    """Looks at the streams and the dead letters."""

    async def look(self) -> StreamsDiagnosis:
        """As they are now; raises EventsUnavailable."""


class EdgeLook(Protocol):
    """Asks edges how they are."""

    @property
    def names(self) -> Sequence[str]:
        """Of the edges there are."""

    async def look(self, edge: str) -> EdgeDiagnosis:
        """How this one is; raises EdgeUnavailable."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of all that was kept of a Recipient.

    Attributes:
        deliveries: without address and fields now; those that were cancelled for it included.
        in_hand: Deliveries on their way, which stay as they are until they have ended.
        outcomes: without address, reply, URL, IP address and user agent now.
        reports: deleted.
        suppressions: kept as a hash.
    """

    deliveries: int = 0
    cancelled: int = 0
    in_hand: int = 0
    outcomes: int = 0
    reports: int = 0
    suppressions: int = 0

    def __add__(self, other: Erased) -> Erased:
        names = ("deliveries", "cancelled", "in_hand", "outcomes", "reports", "suppressions")
        return Erased(*(getattr(self, name) + getattr(other, name) for name in names))


class RecipientData(Protocol):
    """All that the ledger keeps of one Recipient of a Domain; every call raises LedgerUnavailable. Each walks
    through all Batches of the Domain, which takes its time."""

    def records(self, domain: str, address: str) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """All records, piece by piece; `kind` says what each is."""

    async def deliveries(self, domain: str, address: str) -> Sequence[DeliveryId]:
        """The names of all Deliveries to the address."""

    async def erase(self, domain: str, address: str, now: datetime) -> Erased:
        """Erase the address wherever it stands. Counts stay, and a suppression goes on refusing it."""


class EdgeMemory(Protocol):
    """What edges remember of mails that have ended."""

    @property
    def names(self) -> Sequence[str]:
        """Of the edges there are."""

    async def forget(self, edge: str, deliveries: Sequence[DeliveryId]) -> None:
        """Have an edge forget the replies that it has on record of mails that have ended; raises
        EdgeUnavailable."""


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """An endpoint of a Domain.

    Attributes:
        types: of events that it is told; none: all.
        old_secret_until: until then the secret before the last rotation signs as well.
    """

    id: str
    domain: str
    url: str
    types: Sequence[str]
    description: str
    created_at: datetime
    health: Health
    old_secret_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """An event that is, or was, owed to a webhook.

    Attributes:
        number: its public name; later ones are greater.
        state: `owed`, `delivered` or `failed`.
        due_at: when the next try is due; None if there is none.
        attempts: tries begun.
        status: of the last answer, HTTP; 0: there was none.
        error: why the last try failed, as a word.
    """

    number: int
    webhook: str
    event_id: str
    type: str
    body: str
    created_at: datetime
    state: str
    due_at: datetime | None
    attempts: int
    last_attempt_at: datetime | None
    status: int
    error: str
    milliseconds: int


class Webhooks(Protocol):
    """Webhooks of Domains as their owners see them; every call raises LedgerUnavailable. None, or 0, is
    returned where the Domain has no such webhook."""

    async def add(self, webhook: WebhookRecord, secret: bytes) -> bool:
        """Add one; False if there is no such Domain, or it has as many as it may."""

    async def webhook(self, domain: str, webhook_id: str) -> WebhookRecord | None:
        """One of them."""

    async def of_domain(self, domain: str) -> Sequence[WebhookRecord]:
        """All of a Domain, oldest first."""

    async def delete(self, domain: str, webhook_id: str, now: datetime) -> WebhookRecord | None:
        """Delete one; nothing is posted to it any more, and its log goes, too."""

    async def rotate(
        self, domain: str, webhook_id: str, secret: bytes, old_until: datetime
    ) -> WebhookRecord | None:
        """Give one a new secret; the old one signs as well until `old_until`."""

    async def test(
        self, domain: str, webhook_id: str, event_id: str, body: str, now: datetime
    ) -> WebhookDelivery | None:
        """Owe it an event that only tests it, before all else; a suspended one is tried again by that."""

    async def deliveries(
        self, webhook: WebhookRecord, state: str, before: int, take: int
    ) -> Sequence[WebhookDelivery]:
        """The log, newest first, of numbers below `before`; an empty `state` is any."""

    async def redeliver(self, webhook: WebhookRecord, number: int, now: datetime) -> WebhookDelivery | None:
        """Owe an event of the log once more, before all else; None if it is not in the log."""

    async def redeliver_failed(
        self, webhook: WebhookRecord, since: datetime, most: int, now: datetime
    ) -> int:
        """Owe once more what failed and was written since then; how much that is."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event that webhooks may want.

    Attributes:
        recipient: whom it is about.
        body: what would be posted.
        at: when it happened.
    """

    domain: str
    id: str
    recipient: str
    body: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """A post that is to be made now.

    Attributes:
        attempt: the number of this try, from 1.
        secrets: that sign, the newest first.
        give_up_at: no try begins after that.
    """

    number: int
    webhook: str
    domain: str
    event_id: str
    url: str
    body: str
    attempt: int
    secrets: Sequence[bytes]
    give_up_at: datetime


class WebhookQueue(Protocol):
    """What is owed to webhooks; every call raises LedgerUnavailable."""

    async def wanting(self, domains: Collection[str], type_: str) -> Collection[str]:
        """Which of these Domains have a webhook that wants events of this type."""

    async def owe(self, type_: str, events: Sequence[WebhookEvent], now: datetime) -> None:
        """Write what is owed, each event once for each webhook that wants it."""

    async def claim(
        self, limit: int, now: datetime, under_way: Mapping[str, int], *, troubled: bool
    ) -> Sequence[Claimed]:
        """Take up to `limit` posts that are due, of endpoints in trouble, or of the others.

        Args:
            under_way: how many posts to which webhook the caller is making; of each it may only be some.
        """

    async def record(self, answers: Sequence[tuple[Claimed, PostResult]], now: datetime) -> Sequence[str]:
        """Write what came of posts; returns the webhooks that are suspended by it."""

    async def keep(self, now: datetime) -> None:
        """Give up what was tried for long enough, and forget what is older than the log may be."""


class WebhookPoster(Protocol):
    """Posts over HTTP."""

    async def post(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> PostResult:
        """Post, once; never raises."""
