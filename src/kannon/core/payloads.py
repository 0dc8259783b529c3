"""What events say: what happened to a chunk of Deliveries. How it travels is in `kannon.events`."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.replies import Stage
from kannon.core.reports.values import Kind, Reported
from kannon.core.stored_objects import StoredObject
from kannon.core.tracking.policy import Mode


class _Chunk:
    """What payloads have: a name, which gives type and subject, and the field that holds the chunk."""

    NAME: ClassVar[str]
    ITEMS: ClassVar[str] = ""

    def identity(self) -> str:
        """What makes two publishings the same event: members, attempt and emission."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A Recipient to verify."""

    seq: int
    address: str


@dataclass(frozen=True, slots=True)
class BatchAccepted(_Chunk):
    """Recipients that the gateway took (gateway, tick → verify).

    Attributes:
        announcement: how often this Batch was announced, from 1; a deliberate repeat is another event.
    """

    NAME = "batch.accepted"
    ITEMS = "recipients"
    batch: int
    announcement: int
    recipients: tuple[Candidate, ...]

    def identity(self) -> str:
        return f"{self.batch}/{self.announcement}/{_digest(item.seq for item in self.recipients)}"


@dataclass(frozen=True, slots=True)
class RecipientVerdict:
    """What verify found: an empty reason lets the Recipient pass."""

    seq: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RecipientsVerified(_Chunk):
    """Verdicts over Recipients (verify → dispatch)."""

    NAME = "recipients.verified"
    ITEMS = "verdicts"
    batch: int
    announcement: int
    verdicts: tuple[RecipientVerdict, ...]

    def identity(self) -> str:
        return f"{self.batch}/{self.announcement}/{_digest(item.seq for item in self.verdicts)}"


@dataclass(frozen=True, slots=True)
class DeliveriesDue(_Chunk):
    """There is room: claim what is due (tick, dispatch, stats → dispatch).

    Attributes:
        count: how many to claim.
        nonce: tells one request from another.
    """

    NAME = "deliveries.due"
    count: int
    nonce: str

    def identity(self) -> str:
        return self.nonce


@dataclass(frozen=True, slots=True)
class EnvelopesReady(_Chunk):
    """Built and signed messages, for one edge (dispatch → send)."""

    NAME = "envelopes.ready"
    ITEMS = "envelopes"
    edge: str
    envelopes: tuple[Envelope, ...]

    def identity(self) -> str:
        return _digest(f"{e.delivery}:{e.attempt}:{e.emission}" for e in self.envelopes)


@dataclass(frozen=True, slots=True)
class Emitted:
    """One publishing of one Attempt."""

    batch: int
    seq: int
    attempt: int
    emission: int

    @property
    def delivery(self) -> DeliveryId:
        """The Delivery that was tried."""
        return DeliveryId(self.batch, self.seq)

    def __str__(self) -> str:
        return f"{self.batch}.{self.seq}:{self.attempt}:{self.emission}"


@dataclass(frozen=True, slots=True)
class EnvelopesUntaken(_Chunk):
    """What the edge had no room for (send → stats).

    Attributes:
        wait_ms: milliseconds after which they may be offered again; 0 for soon.
    """

    NAME = "envelopes.untaken"
    ITEMS = "emissions"
    emissions: tuple[Emitted, ...]
    wait_ms: int = 0

    def identity(self) -> str:
        return _digest(self.emissions)


@dataclass(frozen=True, slots=True)
class Delivered:
    """An exchanger answered 250 after the final dot.

    Attributes:
        ambiguities: how often this Delivery, over all its Attempts, ended after the dot without a reply.
    """

    emitted: Emitted
    at: datetime
    code: int
    enhanced: str
    text: str
    exchanger: str
    ambiguities: int = 0


@dataclass(frozen=True, slots=True)
class TransmissionsDelivered(_Chunk):
    """Transmissions that succeeded (edge → stats)."""

    NAME = "transmissions.delivered"
    ITEMS = "transmissions"
    transmissions: tuple[Delivered, ...]

    def identity(self) -> str:
        return _digest(item.emitted for item in self.transmissions)


@dataclass(frozen=True, slots=True)
class Refused:
    """A transmission that did not succeed, as the edge saw it.

    Attributes:
        recipient_domain: for rules by provider; the address itself stays in the ledger.
        ambiguities: how often this Delivery, over all its Attempts, ended after the dot without a reply.
    """

    emitted: Emitted
    at: datetime
    stage: Stage
    code: int
    enhanced: str
    text: str
    exchanger: str
    ambiguities: int = 0


@dataclass(frozen=True, slots=True)
class TransmissionsRefused(_Chunk):
    """Transmissions that did not succeed, unjudged (edge → bounce)."""

    NAME = "transmissions.refused"
    ITEMS = "transmissions"
    transmissions: tuple[Refused, ...]

    def identity(self) -> str:
        return _digest(item.emitted for item in self.transmissions)


@dataclass(frozen=True, slots=True)
class Judged:
    """A refused transmission and what it means.

    Attributes:
        verdict: `deferred`, `bounced` or `failed`.
        category: why, by the table of judgements.
        hard: whether the address itself is to be written off.
    """

    refused: Refused
    verdict: str
    category: str
    hard: bool


@dataclass(frozen=True, slots=True)
class TransmissionsJudged(_Chunk):
    """Judgements over refused transmissions (bounce → stats)."""

    NAME = "transmissions.judged"
    ITEMS = "judgements"
    judgements: tuple[Judged, ...]

    def identity(self) -> str:
        return _digest(item.refused.emitted for item in self.judgements)


class ReportRole(StrEnum):
    """To what kind of address a report came."""

    RETURN_PATH = "return-path"
    POSTMASTER = "postmaster"
    ABUSE = "abuse"
    FEEDBACK = "feedback"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True)
class ReportRecipient:
    """One recipient of a report.

    Attributes:
        domain: of the address.
        delivery: whose return path it is, or whose reader unsubscribes; None for other roles. The token was
            verified.
    """

    role: ReportRole
    domain: str
    delivery: DeliveryId | None = None

    def __str__(self) -> str:
        return f"{self.role}:{self.domain}:{self.delivery}"


@dataclass(frozen=True, slots=True)
class ReportReceived(_Chunk):
    """One mail that came to the edge, as it came (edge → bounce). Only its recipients are known to be true.

    Attributes:
        sender: of the SMTP envelope; empty for the null one, as reports should have it.
        client: the address that the connection came from.
        tls: whether it came encrypted.
        message: its octets from the beginning; no more than `MAX_REPORT_BYTES`, and of one that is stored no
            more than `MAX_REPORT_HEAD`.
        truncated: whether `message` is not all of it.
        size: octets of all of it on the wire.
        digest: SHA-256 of all of it on the wire, in hexadecimal.
        stored: where all of it lies, if it does not fit into an event.
    """

    NAME = "reports.received"
    recipients: tuple[ReportRecipient, ...]
    sender: str
    client: str
    tls: bool
    at: datetime
    message: bytes
    truncated: bool
    size: int
    digest: str
    stored: StoredObject | None = None

    def identity(self) -> str:
        return _report(self.digest, self.recipients)


MAX_REPORT_BYTES = 480_000
MAX_REPORT_RECIPIENTS = 100
"""What is kept of a report, at the most: in base64, with all its recipients, it fits an event."""


@dataclass(frozen=True, slots=True)
class ReportJudged(_Chunk):
    """What one report says, and of which Deliveries (bounce → stats). Only the latter are known to be true.

    Attributes:
        recipients: as the edge took them.
        deliveries: those that it is about, by signed return paths; empty where none is named so.
        reason: why it is of this kind, where that is not plain.
        told: what it says of whom; the addresses are as it has them.
        sender: of the SMTP envelope.
        client: the address that the connection came from.
        at: when the edge took it.
        size: octets of all of it.
        digest: SHA-256 of all of it, in hexadecimal.
        head: its octets from the beginning, for people to look at; no more than `MAX_REPORT_HEAD`.
    """

    NAME = "reports.judged"
    recipients: tuple[ReportRecipient, ...]
    deliveries: tuple[DeliveryId, ...]
    kind: Kind
    reason: str
    told: tuple[Reported, ...]
    sender: str
    client: str
    at: datetime
    size: int
    digest: str
    head: bytes

    def identity(self) -> str:
        return _report(self.digest, self.recipients)


MAX_REPORT_HEAD = 64_000
MAX_REPORTED = 50
"""Recipients that are told of, at the most; with the head, it fits an event."""


class Act(StrEnum):
    """What a reader did; opens and clicks are named as the Outcomes are."""

    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class Engagement:
    """Something that a reader did, by a token that was verified.

    Attributes:
        id: of the request; the same engagement may come again under it.
        domain: the tenant.
        batch: number of the Batch.
        seq: the Delivery within it; None where the mode does not tell Recipients apart.
        pseudonym: in mode pseudonymous, who it was; empty otherwise.
        machine: what fetched it, if that was no person: the name of a rule; empty otherwise.
        url: where the link led; empty for other acts.
        ip: the reader's address, in mode full; empty otherwise.
        user_agent: likewise.
    """

    id: str
    act: Act
    mode: Mode
    domain: str
    batch: int
    at: datetime
    seq: int | None = None
    pseudonym: str = ""
    machine: str = ""
    url: str = ""
    ip: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class EngagementsSeen(_Chunk):
    """What readers did (track → stats)."""

    NAME = "engagements.seen"
    ITEMS = "engagements"
    engagements: tuple[Engagement, ...]

    def identity(self) -> str:
        return _digest(item.id for item in self.engagements)


@dataclass(frozen=True, slots=True)
class OutcomeFact:
    """One Outcome as the ledger committed it.

    Attributes:
        delivery: `<batch>.<seq>`; empty where it is not known whose it is.
        recipient: an address, or a pseudonym.
        traceparent: W3C trace context of the call; empty: there was none.
    """

    delivery: str
    message_id: str
    domain: str
    recipient: str
    attempt: int
    at: datetime
    data: dict[str, Any]
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Outcomes(_Chunk):
    """Committed facts of one kind (outbox → anyone).

    Attributes:
        outbox_id: the outbox's own number; makes a repeat after a crash the same event.
    """

    NAME = "outcomes"
    ITEMS = "facts"
    outcome: str
    outbox_id: int
    facts: tuple[OutcomeFact, ...]

    def identity(self) -> str:
        return str(self.outbox_id)


@dataclass(frozen=True, slots=True)
class SuppressionFact:
    """A suppression as it stands, or stood until it was removed.

    Attributes:
        address: in canonical form.
        expires_at: it ends then, and no event tells so; None: never.
    """

    domain: str
    address: str
    reason: str
    source: str
    created_at: datetime
    expires_at: datetime | None
    message_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class SuppressionChanges(_Chunk):
    """Committed suppressions that were added or changed, or that were removed (outbox → anyone).

    Attributes:
        change: `added` or `removed`.
        outbox_id: the outbox's own number; makes a repeat after a crash the same event.
    """

    NAME = "suppression"
    ITEMS = "facts"
    change: str
    outbox_id: int
    facts: tuple[SuppressionFact, ...]

    def identity(self) -> str:
        return str(self.outbox_id)


@dataclass(frozen=True, slots=True)
class SendRefused(_Chunk):
    """A request to send that came by NATS and will never be done (gateway → who asked).

    Attributes:
        domain: under whose subject it came.
        sequence: of the request in its stream.
        request_source: the `source` of the request; empty where it had none that can be read.
        request_id: likewise its `id`.
        reason: what is wrong with it, in words.
        field: where; empty if that is no single place. What stands in the data begins with `data.`.
    """

    NAME = "send.refused"
    domain: str
    sequence: int
    request_source: str
    request_id: str
    reason: str
    field: str = ""

    def identity(self) -> str:
        return f"{self.domain}/{self.sequence}/{_digest((self.request_source, self.request_id))}"


AnyPayload = (
    BatchAccepted
    | RecipientsVerified
    | DeliveriesDue
    | EnvelopesReady
    | EnvelopesUntaken
    | TransmissionsDelivered
    | TransmissionsRefused
    | TransmissionsJudged
    | ReportReceived
    | ReportJudged
    | EngagementsSeen
    | Outcomes
    | SuppressionChanges
    | SendRefused
)
PAYLOADS: tuple[type[AnyPayload], ...] = (
    BatchAccepted,
    RecipientsVerified,
    DeliveriesDue,
    EnvelopesReady,
    EnvelopesUntaken,
    TransmissionsDelivered,
    TransmissionsRefused,
    TransmissionsJudged,
    ReportReceived,
    ReportJudged,
    EngagementsSeen,
    Outcomes,
    SuppressionChanges,
    SendRefused,
)


def _report(digest: str, recipients: Iterable[ReportRecipient]) -> str:
    """Which report it is: not when and from where, for a client that got no answer comes again."""
    return f"{digest}/{_digest(sorted(map(str, recipients)))}"


def _digest(members: Iterable[object]) -> str:
    return base64.b32encode(hashlib.sha256(" ".join(map(str, members)).encode()).digest()[:20]).decode()
