"""Every event: its type, subject and data; encode and decode.

An event carries a chunk: up to MAX_CHUNK_ITEMS Deliveries or MAX_CHUNK_BYTES. It travels as one CloudEvent.
What stands between stages is signed: the signature binds the attributes that we rely on, and the data.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self, TypeVar

import msgspec

from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.errors import ForgedEvent, MalformedEvent
from kannon.core.replies import Stage

TYPE_PREFIX = "email.kannon."
TYPE_SUFFIX = ".v1"
SUBJECT_PREFIX = "kannon.v1."
TICK_TYPE = "dev.knative.sources.ping"
"""The timer's event, unsigned: all that it can do is to have forgotten work looked for a little earlier."""


class Payload(Protocol):
    """What an event says. NAME gives its type and subject; ITEMS the field that holds the chunk, if any."""

    NAME: ClassVar[str]
    ITEMS: ClassVar[str]

    def identity(self) -> str:
        """What makes two publishings the same event: members, attempt and emission."""


class _Chunk:
    """What payloads share: their type, their subject, and taking a part of the chunk."""

    NAME: ClassVar[str]
    ITEMS: ClassVar[str] = ""

    def identity(self) -> str:
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
        return f"{self.batch}/{self.announcement}/{_span(item.seq for item in self.recipients)}"


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
        return f"{self.batch}/{self.announcement}/{_span(item.seq for item in self.verdicts)}"


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
    """What the edge had no room for (send → stats)."""

    NAME = "envelopes.untaken"
    ITEMS = "emissions"
    emissions: tuple[Emitted, ...]

    def identity(self) -> str:
        return _digest(str(item) for item in self.emissions)


@dataclass(frozen=True, slots=True)
class Delivered:
    """An exchanger answered 250 after the final dot."""

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
        return _digest(str(item.emitted) for item in self.transmissions)


@dataclass(frozen=True, slots=True)
class Refused:
    """A transmission that did not succeed, as the edge saw it.

    Attributes:
        recipient_domain: for rules by provider; the address itself stays in the ledger.
        ambiguities: how often this Attempt ended after the dot without a reply.
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
        return _digest(str(item.emitted) for item in self.transmissions)


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
        return _digest(str(item.refused.emitted) for item in self.judgements)


@dataclass(frozen=True, slots=True)
class OutcomeFact:
    """One Outcome as the ledger committed it."""

    delivery: str
    message_id: str
    domain: str
    recipient: str
    attempt: int
    at: datetime
    data: dict[str, Any]


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


AnyPayload = (
    BatchAccepted
    | RecipientsVerified
    | DeliveriesDue
    | EnvelopesReady
    | EnvelopesUntaken
    | TransmissionsDelivered
    | TransmissionsRefused
    | TransmissionsJudged
    | Outcomes
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
    Outcomes,
)
P = TypeVar("P", bound=AnyPayload)


def name_of(payload: AnyPayload) -> str:
    """The event's name; outcomes have one a kind."""
    return f"{payload.NAME}.{payload.outcome}" if isinstance(payload, Outcomes) else payload.NAME


def type_of(payload: AnyPayload | type[AnyPayload]) -> str:
    """The CloudEvents `type`."""
    name = payload.NAME if isinstance(payload, type) else name_of(payload)
    return f"{TYPE_PREFIX}{name}{TYPE_SUFFIX}"


def subject_of(payload: AnyPayload | type[AnyPayload]) -> str:
    """The NATS subject it is published on."""
    name = payload.NAME if isinstance(payload, type) else name_of(payload)
    return f"{SUBJECT_PREFIX}{name}"


def items_of(payload: AnyPayload) -> tuple[Any, ...]:
    """The chunk's items; empty for an event that carries none."""
    return getattr(payload, payload.ITEMS) if payload.ITEMS else ()


def part_of(payload: P, start: int, stop: int) -> P:
    """The same event with only the items from `start` up to `stop`.

    Raises:
        MalformedEvent: the event has no such items.
    """
    items = items_of(payload)
    if not 0 <= start < stop <= len(items):
        raise MalformedEvent(f"items {start}-{stop}: the event has {len(items)}")
    chosen: dict[str, Any] = {payload.ITEMS: items[start:stop]}
    return replace(payload, **chosen)


class Codec(Protocol):
    """How the data of some payloads is written."""

    content_type: str

    def encode(self, payload: AnyPayload) -> bytes:
        """The payload as octets."""

    def decode(self, kind: type[P], data: bytes) -> P:
        """The payload back; raises MalformedEvent."""


class JsonCodec:
    """JSON, checked against the payload's fields."""

    content_type = "application/json"

    def encode(self, payload: AnyPayload) -> bytes:
        """The payload as JSON."""
        return msgspec.json.encode(payload)

    def decode(self, kind: type[P], data: bytes) -> P:
        """The payload of JSON `data`.

        Raises:
            MalformedEvent: it does not fit; the text names the field.
        """
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, ValueError) as error:
            raise MalformedEvent(f"data: {error}") from None


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """A CloudEvent 1.0 of ours, ready for the wire or fresh from it.

    Attributes:
        itemcount: how many items the data holds; lets a source split a chunk that it cannot read.
        signature: hex HMAC-SHA256 over the signed attributes and the data.
    """

    id: str
    source: str
    type: str
    subject: str
    datacontenttype: str
    data: bytes
    time: str = ""
    partitionkey: str = ""
    traceparent: str = ""
    itemcount: str = "0"
    signature: str = ""

    def attributes(self) -> dict[str, str]:
        """All set attributes by name, `specversion` included."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "data"}
        return {"specversion": "1.0"} | {name: value for name, value in named.items() if value}

    @classmethod
    def of(cls, attributes: Mapping[str, str], data: bytes) -> Self:
        """The event with these attributes; foreign extensions are left out.

        Raises:
            MalformedEvent: a required attribute is missing.
        """
        known = {f.name: attributes.get(f.name, "") for f in fields(cls) if f.name != "data"}
        for name in ("id", "source", "type"):
            if not known[name]:
                raise MalformedEvent(f"{name}: this CloudEvents attribute is required")
        return cls(data=data, **known)


_SIGNED = ("id", "source", "type", "subject", "datacontenttype", "partitionkey", "itemcount")


def sign(key: bytes, event: CloudEvent) -> str:
    """The signature of an event: over the attributes a stage relies on (not those that proxies rewrite,
    like `time` and `traceparent`) and the data."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for name in _SIGNED:
        value = getattr(event, name).encode()
        mac.update(b"%s=%d:%s\n" % (name.encode(), len(value), value))
    mac.update(event.data)
    return mac.hexdigest()


class Sealer:
    """Turns payloads into signed CloudEvents, and back.

    Args:
        key: the subkey for events.
        source: who speaks, the CloudEvents `source`, like `/kannon/dispatch`.
        codecs: how payloads that are not JSON are written.
    """

    def __init__(
        self, key: bytes, source: str, codecs: Mapping[type[AnyPayload], Codec] | None = None
    ) -> None:
        self._key = key
        self._source = source
        self._codecs = dict(codecs or {})
        self._json = JsonCodec()

    def seal(self, payload: AnyPayload, now: datetime, traceparent: str = "") -> CloudEvent:
        """The signed CloudEvent that says `payload`."""
        codec = self._codecs.get(type(payload), self._json)
        identity = f"{type_of(payload)}\n{payload.identity()}"
        event = CloudEvent(
            id=hashlib.sha256(identity.encode()).hexdigest()[:32],
            source=self._source,
            type=type_of(payload),
            subject=_about(payload),
            datacontenttype=codec.content_type,
            data=codec.encode(payload),
            time=now.isoformat(),
            partitionkey=_about(payload),
            traceparent=traceparent,
            itemcount=str(len(items_of(payload))),
        )
        return replace(event, signature=sign(self._key, event))

    def open(self, event: CloudEvent, kinds: Iterable[type[AnyPayload]]) -> AnyPayload:
        """The payload of `event`, if its type is among `kinds` and its signature ours.

        Raises:
            ForgedEvent: the signature is missing or not ours.
            MalformedEvent: a foreign type, or data that does not fit.
        """
        kind = next((kind for kind in kinds if type_of(kind) == event.type), None)
        if kind is None:
            raise MalformedEvent(f"type: {event.type!r} is not taken here")
        if not hmac.compare_digest(sign(self._key, event).encode(), event.signature.encode()):
            raise ForgedEvent("signature: not made with this installation's key")
        codec = self._codecs.get(kind, self._json)
        return codec.decode(kind, event.data)


def _about(payload: AnyPayload) -> str:
    if isinstance(payload, BatchAccepted | RecipientsVerified):
        return str(payload.batch)
    if isinstance(payload, EnvelopesReady):
        return payload.edge
    return name_of(payload)


def _span(numbers: Iterable[int]) -> str:
    return _digest(str(number) for number in numbers)


def _digest(names: Iterable[str]) -> str:
    return base64.b32encode(hashlib.sha256(" ".join(names).encode()).digest()[:20]).decode()
