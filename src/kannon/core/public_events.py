"""What became of a mail, said as an event for anyone: one table of types and fields, from which come both the
events and their contracts (docs/events).

One Outcome is one event. Its id is drawn from what makes the Outcome one, so whoever says it, however often,
says the same event.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from kannon.core.payloads import OutcomeFact

CONTENT_TYPE: Final = "application/json"
PREFIX: Final = "email.kannon.delivery."
SUFFIX: Final = ".v1"
SCHEMAS: Final = "urn:kannon:schema:"
"""A schema's name; nothing is to be fetched by it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an event's data.

    Attributes:
        kind: the Python type of its values; of an event there is none of it where its value is empty, or 0.
        told: what it is, for people.
        key: the ledger's name for it, where that is another.
        format: of JSON Schema; empty: none.
    """

    name: str
    kind: type[str] | type[int] | type[bool]
    told: str
    key: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of event.

    Attributes:
        outcome: as in `outcomes.<outcome>`.
        told: when there is one, for people.
        fields: what it may know beyond `COMMON`.
    """

    outcome: str
    told: str
    fields: tuple[Field, ...] = ()

    @property
    def type(self) -> str:
        """The CloudEvents `type`."""
        return f"{PREFIX}{self.outcome}{SUFFIX}"

    @property
    def schema(self) -> str:
        """The CloudEvents `dataschema`."""
        return f"{SCHEMAS}{self.type}"


COMMON: Final = (
    Field("batch", str, "The Batch: what the send call answered as message_id."),
    Field(
        "delivery",
        str,
        "The mail within it, <batch number>.<seq>; not there where it is not known which it was.",
    ),
    Field(
        "recipient",
        str,
        "The Recipient's address; of opens and clicks under TRACKING_MODE_PSEUDONYMOUS a pseudonym.",
    ),
    Field("domain", str, "The Domain that sent."),
    Field("time", str, "When it happened.", format="date-time"),
    Field(
        "attempt", int, "Which try it is about; 0 for what came before the first, and for opens and clicks."
    ),
)
"""What every event has, but for `delivery` now and then."""

_REPLY: Final = (
    Field("code", int, "What the exchanger answered: the SMTP reply code."),
    Field("enhanced", str, "The enhanced status code (RFC 3463)."),
    Field("text", str, "The words of the answer.", key="msg"),
    Field("exchanger", str, "The host that answered."),
)
_AMBIGUITIES: Final = Field(
    "ambiguities",
    int,
    "How often a transmission ended after its last octet without an answer; each may be one copy more.",
)
_CATEGORY: Final = Field("category", str, "Why, as a word.")
_JUDGED: Final = (
    *_REPLY,
    Field("stage", str, "How far the SMTP session had come."),
    _CATEGORY,
    Field("hard", bool, "Whether the address itself is to be written off."),
    _AMBIGUITIES,
)
_REASON: Final = Field("reason", str, "Why, as a word.")
_REPORTER: Final = Field("reporting_mta", str, "Who reported it.")
_SEEN: Final = (
    Field("request", str, "Names the reader's request.", key="id"),
    Field(
        "tracking_mode", str, "How much is learnt of readers: pseudonymous, identified or full.", key="mode"
    ),
    Field("machine", str, "What fetched it, if that was no person: the name of a rule."),
    Field("ip", str, "Where it was fetched from; under mode full only."),
    Field("user_agent", str, "What fetched it, as it says itself; under mode full only."),
)

KINDS: Final = (
    Kind("accepted", "The address was verified; the mail is owed."),
    Kind("rejected", "The address was refused before anything was sent. Nothing follows.", (_REASON,)),
    Kind("deferred", "A try failed for now; there will be another.", _JUDGED),
    Kind("delivered", "The Recipient's mail exchanger took the mail over.", (*_REPLY, _AMBIGUITIES)),
    Kind(
        "bounced",
        "The mail was refused for good, or its time was over, or a report said so after it was delivered.",
        (
            *_JUDGED,
            Field("permanent", bool, "Whether it was refused for good; else its time was over."),
            Field("late", bool, "Whether a report told it, after the exchanger had taken the mail over."),
            _REPORTER,
        ),
    ),
    Kind("failed", "The mail was given up without an answer that refuses it.", (_REASON, *_JUDGED)),
    Kind(
        "complained",
        "The Recipient, or the Recipient's provider, complained of the mail.",
        (_CATEGORY, _REPORTER),
    ),
    Kind("opened", "The mail was opened.", _SEEN),
    Kind("clicked", "A link of the mail was followed.", (*_SEEN, Field("url", str, "Where the link led."))),
)
BY_OUTCOME: Final[Mapping[str, Kind]] = {kind.outcome: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class PublicEvent:
    """A CloudEvent 1.0 for anyone.

    Attributes:
        source: `/kannon/domains/<domain>`.
        subject: the Delivery; the Batch where it is not known which one it was.
        time: when it happened, RFC 3339 in UTC.
        partitionkey: as `subject`: what became of one mail stays in order.
        traceparent: W3C trace context of the send call; empty: there was none.
        data: in the order and with the members of the type's fields.
    """

    id: str
    source: str
    type: str
    subject: str
    time: str
    partitionkey: str
    traceparent: str
    dataschema: str
    data: Mapping[str, Any]

    def attributes(self) -> dict[str, str]:
        """All set attributes by name, `specversion` and `datacontenttype` included; printable ASCII."""
        named = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": CONTENT_TYPE,
            "dataschema": self.dataschema,
            "partitionkey": self.partitionkey,
            "traceparent": self.traceparent,
        }
        return {name: value for name, value in named.items() if value}

    def structured(self) -> dict[str, Any]:
        """It as one JSON object (CloudEvents JSON format)."""
        return {**self.attributes(), "data": self.data}


def public_event(outcome: str, fact: OutcomeFact) -> PublicEvent:
    """The event that says one Outcome.

    Args:
        outcome: its kind, as in `outcomes.<outcome>`.

    Raises:
        KeyError: a kind that there is none of.
    """
    kind = BY_OUTCOME[outcome]
    subject = fact.delivery or fact.message_id
    time = written_time(fact.at)
    common = {
        "batch": fact.message_id,
        "delivery": fact.delivery,
        "recipient": fact.recipient,
        "domain": fact.domain,
        "time": time,
    }
    return PublicEvent(
        id=event_id(outcome, subject, fact.attempt, fact.at, str(fact.data.get("id") or "")),
        source=source_of(fact.domain),
        type=kind.type,
        subject=subject,
        time=time,
        partitionkey=subject,
        traceparent=fact.traceparent,
        dataschema=kind.schema,
        data={name: value for name, value in common.items() if value}
        | {"attempt": fact.attempt}
        | _known(kind, fact.data),
    )


def event_id(outcome: str, subject: str, attempt: int, at: datetime, request: str = "") -> str:
    """The id of the event that says an Outcome.

    Args:
        outcome: as in `outcomes.<outcome>`.
        subject: its Delivery, or its Batch where that is not known.
        request: of an open or a click.
    """
    parts = (BY_OUTCOME[outcome].type, subject, str(attempt), written_time(at), request)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _known(kind: Kind, data: Mapping[str, Any]) -> dict[str, Any]:
    found = {field: data.get(field.key or field.name) for field in kind.fields}
    return {field.name: value for field, value in found.items() if _says_something(field, value)}


def _says_something(field: Field, value: object) -> bool:
    return type(value) is field.kind and (field.kind is bool or bool(value))


def source_of(domain: str) -> str:
    """The `source` of all events of a Domain."""
    return f"/kannon/domains/{domain}"


def written_time(at: datetime) -> str:
    """A `time` (RFC 3339), in UTC and microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
