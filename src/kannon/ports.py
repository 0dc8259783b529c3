"""What the stages need from outside, as Protocols. Adapters implement them; tests have fakes."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from kannon.core.batches import BatchContent, Delivery, Move, NewBatch, Outcome
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import AnyPayload, Candidate


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
    """What the edge says to one Envelope."""

    TAKEN = "taken"
    UNTAKEN = "untaken"
    REFUSED = "refused"


class EdgeClient(Protocol):
    """Hands Envelopes to an edge."""

    async def submit(self, edge: str, envelopes: Sequence[Envelope]) -> Sequence[SubmitVerdict]:
        """One answer an Envelope, in order; what is taken is in the edge's journal.

        Raises:
            EdgeUnavailable: no answer; what was taken is not known, and submitting again is safe.
        """


class LedgerWork(Protocol):
    """One transaction over Deliveries. It commits when its context is left, rolls back on an exception."""

    async def lock_accepted(self, batch: int, seqs: Sequence[int]) -> Sequence[Delivery]:
        """Those of a Batch's Deliveries that still stand in `accepted`, locked."""

    async def claim(self, limit: int, now: datetime) -> Sequence[Delivery]:
        """Up to `limit` scheduled Deliveries that are due and that nobody else works on, locked."""

    async def lock(self, deliveries: Sequence[DeliveryId]) -> Sequence[Delivery]:
        """These Deliveries, whatever their status, locked; unknown ones are left out."""

    async def room(self) -> int:
        """How many more Deliveries may be in hand."""

    async def batch(self, number: int) -> BatchContent:
        """What the Deliveries of a Batch share."""

    async def move(self, moves: Sequence[Move], now: datetime) -> None:
        """Write what was decided."""

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write Outcomes once each, count the new ones, and put them into the outbox."""

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


class Outbox(Protocol):
    """Publishes committed Outcomes."""

    def nudge(self) -> None:
        """There is something to publish; returns at once."""

    async def drain(self) -> int:
        """Publish all that waits; returns how many rows that were. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A sending tenant."""

    name: str
    dkim_public_key: str
    created_at: datetime


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


class Directory(Protocol):
    """Domains and their keys. Every call raises LedgerUnavailable when PostgreSQL is away."""

    async def add_domain(self, name: str, dkim_private_key: bytes, dkim_public_key: str) -> DomainRecord:
        """A new Domain; the private key (PKCS #8 DER) is kept sealed. Raises Conflict if it exists."""

    async def domain(self, name: str) -> DomainRecord | None:
        """The Domain of that name."""

    async def domains(self) -> Sequence[DomainRecord]:
        """All Domains, by name."""

    async def add_key(self, record: KeyRecord, key_hash: bytes) -> None:
        """A new key of an existing Domain; `key_hash` is SHA-256 of the whole key."""

    async def key(self, domain: str, key_hash: bytes) -> KeyRecord | None:
        """The key of `domain` with that hash, whatever its state."""


class Intake(Protocol):
    """Where the gateway leaves what it accepted."""

    async def accept(self, batch: NewBatch) -> int:
        """Write Batch, transient Template and Deliveries in one transaction.

        Returns:
            The Batch's number; Deliveries are numbered from 0 in the order given.

        Raises:
            LedgerUnavailable: nothing was written.
        """

    async def announced(self, batch: int) -> None:
        """All of this Batch's Recipients were announced once."""


@dataclass(frozen=True, slots=True)
class StatsRow:
    """One Outcome as the Stats API tells it."""

    message_id: str
    domain: str
    email: str
    at: datetime
    type: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class StatsCount:
    """Outcomes of a type within an hour."""

    type: str
    hour: datetime
    count: int


class StatsQueries(Protocol):
    """Reads the statistics; times are half-open [start, end). Raises LedgerUnavailable."""

    async def rows(
        self, domain: str, start: datetime, end: datetime, skip: int, take: int
    ) -> tuple[int, Sequence[StatsRow]]:
        """How many Outcomes there are in all, and a page of them, oldest first."""

    async def counts(self, domain: str, start: datetime, end: datetime) -> Sequence[StatsCount]:
        """Counts by hour and type, hours in order."""
