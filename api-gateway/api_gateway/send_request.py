"""A send call, read: what its Recipients share, and the Recipients, each taken or refused.

Nothing here waits or looks anything up; what comes out is valid.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from api_gateway.bodies import Chosen
from api_gateway.field_rules import MAX_HEADER_CHARACTERS, FieldRules, read_fields
from api_gateway.names import read_address
from api_gateway.options import batch_options, read_headers
from api_gateway.timestamps import read_timestamp
from api_gateway.tracking import TrackingRules, UnknownMode
from kannon.adapters.pb.mailer_pb2 import RescheduleBatchReq, SendHTMLReq, SendRes, SendTemplateReq
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.added_headers import CompiledHeaders
from kannon.core.addresses import EmailAddress, InvalidAddress
from kannon.core.batch_options import AddedHeaders
from kannon.core.batches import AttachmentRef, NewBatch, NewRecipient
from kannon.core.errors import BadInput
from kannon.core.fields import header_safe
from kannon.core.tracking.policy import AboveCeiling, Policy

MAX_RECIPIENTS: Final = 250_000
"""Of one call: with these, short ones take no more memory than long ones do."""
INVALID_EMAIL: Final = "invalid_email"
DUPLICATE_RECIPIENT: Final = "duplicate_recipient"
SUPPRESSED: Final = "suppressed"
UNSUBSCRIBE_URL_UNRESOLVED: Final = "unsubscribe_url_unresolved"
TRACKING_ABOVE_CEILING: Final = "tracking_above_ceiling"
UNSUPPORTED_TRACKING_MODE: Final = "unsupported_tracking_mode"

SendRequest = SendHTMLReq | SendTemplateReq

_NO_FIELDS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Content:
    """What all Recipients of a call share.

    Attributes:
        rules: what fields may hold.
        headers: those that the call asks for.
        tracking: what may be learnt of readers.
        expires_at: end of the Retry Budget.
    """

    sender: EmailAddress
    alias: str
    subject: str
    chosen: Chosen
    global_fields: Mapping[str, str]
    rules: FieldRules
    headers: AddedHeaders
    tracking: TrackingRules
    scheduled_at: datetime
    expires_at: datetime


class TakenRecipients(Collection[NewRecipient]):
    """The Recipients that were taken, in order; read from the call each time, so that none is held twice.

    Args:
        given: all of the call.
        taken: which of them, by their addresses.
        tracking: what may be learnt of them.
    """

    def __init__(self, given: Sequence[Recipient], taken: Mapping[str, int], tracking: TrackingRules) -> None:
        self._given = given
        self._taken = taken
        self._tracking = tracking

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[NewRecipient]:
        for address, index in self._taken.items():
            given = self._given[index]
            yield NewRecipient(address, dict(given.fields) or _NO_FIELDS, self._tracking.of(given))

    def __contains__(self, recipient: object) -> bool:
        return any(recipient == taken for taken in self)


class RecipientReader:
    """Reads Recipients, one after the other.

    Two are the same if their local parts are, to the letter (RFC 5321 §2.4), and their domains are, however
    these are written.

    Attributes:
        taken: the addresses of those taken, and where they stand in the call.
        answer: lists those refused, each with its address as the call had it and a stable token; the rest
            of it is still to be filled in.
    """

    def __init__(self, rules: FieldRules, tracking: TrackingRules) -> None:
        self.taken: dict[str, int] = {}
        self.answer = SendRes()
        self._rules = rules
        self._tracking = tracking
        self._index = 0

    def read(self, recipient: Recipient) -> None:
        """Read the next one.

        Raises:
            BadInput: a field's value cannot be stored, not stand where subject or HTML put it, or makes the
                subject or the message too large.
        """
        self._read(f"recipients[{self._index}]", recipient)
        self._index += 1

    def _read(self, place: str, recipient: Recipient) -> None:
        try:
            address = str(EmailAddress.parse(recipient.email))
        except InvalidAddress:
            self._refuse(recipient.email, INVALID_EMAIL)
            return
        if address in self.taken:
            self._refuse(recipient.email, DUPLICATE_RECIPIENT)
            return
        if refusal := _tracking_refusal(self._tracking, recipient):
            self._refuse(recipient.email, refusal)
            return
        if not self._rules.unsubscribes(recipient.fields):
            self._refuse(recipient.email, UNSUBSCRIBE_URL_UNRESOLVED)
            return
        self._rules.check(place, address, read_fields(f"{place}.fields", recipient.fields))
        self.taken[address] = self._index

    def refuse_suppressed(self, address: str, email: str) -> None:
        """Refuse one that was taken.

        Args:
            email: its address as the call had it.
        """
        del self.taken[address]
        self._refuse(email, SUPPRESSED)

    def _refuse(self, email: str, reason: str) -> None:
        self.answer.rejected_recipients.add(email=email, reason=reason)


def read_content(
    request: SendRequest, chosen: Chosen, ceiling: Policy, now: datetime, retry_budget: timedelta
) -> Content:
    """Read all of a call but its Recipients.

    Args:
        chosen: the body that it sends.
        ceiling: the Domain's Tracking Policy.

    Raises:
        BadInput: a value is not valid; the text names its field.
    """
    sender = read_address("sender.email", request.sender.email)
    _check_header("sender.alias", request.sender.alias)
    _check_header("subject", request.subject)
    if len(request.recipients) > MAX_RECIPIENTS:
        raise BadInput(f"recipients: must not be more than {MAX_RECIPIENTS} in one call")
    global_fields = read_fields("global_fields", request.global_fields)
    headers = read_headers(request)
    scheduled_at, expires_at = read_schedule(request, now, retry_budget)
    return Content(
        sender=sender,
        alias=request.sender.alias,
        subject=request.subject,
        chosen=chosen,
        global_fields=global_fields,
        rules=FieldRules(request.subject, chosen.compiled, global_fields, CompiledHeaders(headers)),
        headers=headers,
        tracking=TrackingRules(ceiling, request),
        scheduled_at=scheduled_at,
        expires_at=expires_at,
    )


def new_batch(
    content: Content,
    recipients: Collection[NewRecipient],
    domain: str,
    name: str,
    traceparent: str,
    attachments: Sequence[AttachmentRef] = (),
) -> NewBatch:
    """The Batch that a call asks for.

    Args:
        domain: the key's.
        name: a new id, unique among all Batches.
    """
    return NewBatch(
        message_id=f"msg_{name}@{domain}",
        domain=domain,
        sender_email=content.sender.wire,
        sender_alias=content.alias,
        subject=content.subject,
        template_id=content.chosen.template_id or f"{name}@{domain}",
        body=content.chosen.body,
        global_fields=content.global_fields,
        scheduled_at=content.scheduled_at,
        expires_at=content.expires_at,
        traceparent=traceparent,
        recipients=recipients,
        attachments=attachments,
        tracking=content.tracking.policy,
        options=batch_options(content.headers, content.chosen),
    )


def read_schedule(
    request: SendRequest | RescheduleBatchReq, now: datetime, retry_budget: timedelta
) -> tuple[datetime, datetime]:
    """When to send at the earliest, never before now, and the end of the Retry Budget; raises BadInput."""
    at = now
    if request.HasField("scheduled_time"):
        at = max(now, read_timestamp("scheduled_time", request.scheduled_time))
    try:
        return at, at + retry_budget
    except OverflowError:
        raise BadInput("scheduled_time: too far in the future") from None


def _tracking_refusal(tracking: TrackingRules, recipient: Recipient) -> str:
    """Why a Recipient is refused for what it says of tracking; empty if it is not."""
    try:
        tracking.of(recipient)
    except AboveCeiling:
        return TRACKING_ABOVE_CEILING
    except UnknownMode:
        return UNSUPPORTED_TRACKING_MODE
    return ""


def _check_header(field: str, value: str) -> None:
    if not header_safe(value):
        raise BadInput(f"{field}: must not hold CR, LF or NUL")
    if len(value) > MAX_HEADER_CHARACTERS:
        raise BadInput(f"{field}: must not be longer than {MAX_HEADER_CHARACTERS} characters")
