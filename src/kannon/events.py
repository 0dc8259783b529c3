"""Every event: its type, subject and data; encode and decode.

An event carries a chunk: up to MAX_CHUNK_ITEMS Deliveries or MAX_CHUNK_BYTES. It travels as one CloudEvent.
What stands between stages is signed: the signature binds the attributes that we rely on, and the data.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Protocol, Self, TypeVar

import msgspec

from kannon.core.errors import ForgedEvent, MalformedEvent
from kannon.core.payloads import (
    AnyPayload,
    BatchAccepted,
    EnvelopesReady,
    Outcomes,
    RecipientsVerified,
    SuppressionChanges,
)

TYPE_PREFIX = "email.kannon."
TYPE_SUFFIX = ".v1"
SUBJECT_PREFIX = "kannon.v1."
TICK_TYPE = "dev.knative.sources.ping"
"""The timer's event, unsigned: all that it can do is to have forgotten work looked for a little earlier."""


P = TypeVar("P", bound=AnyPayload)


def name_of(payload: AnyPayload) -> str:
    """The event's name; public facts have one a kind."""
    if isinstance(payload, Outcomes):
        return f"{payload.NAME}.{payload.outcome}"
    if isinstance(payload, SuppressionChanges):
        return f"{payload.NAME}.{payload.change}"
    return payload.NAME


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
        kind = next((kind for kind in kinds if _is_of(event.type, kind)), None)
        if kind is None:
            raise MalformedEvent(f"type: {event.type!r} is not taken here")
        if not hmac.compare_digest(sign(self._key, event).encode(), event.signature.encode()):
            raise ForgedEvent("signature: not made with this installation's key")
        codec = self._codecs.get(kind, self._json)
        payload = codec.decode(kind, event.data)
        if type_of(payload) != event.type:
            raise MalformedEvent(f"data: not of the type {event.type!r}")
        return payload


def _is_of(event_type: str, kind: type[AnyPayload]) -> bool:
    if issubclass(kind, Outcomes | SuppressionChanges):  # public facts have a type for each kind of fact
        return event_type.startswith(f"{TYPE_PREFIX}{kind.NAME}.") and event_type.endswith(TYPE_SUFFIX)
    return event_type == type_of(kind)


def _about(payload: AnyPayload) -> str:
    if isinstance(payload, BatchAccepted | RecipientsVerified):
        return str(payload.batch)
    if isinstance(payload, EnvelopesReady):
        return payload.edge
    return name_of(payload)
