"""A SendHTML call, read: what its Recipients share, and the Recipients, each taken or refused.

Nothing here waits or looks anything up; what comes out is valid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from api_gateway.field_rules import MAX_HEADER_CHARACTERS, FieldRules
from api_gateway.refusals import NotBuilt
from api_gateway.timestamps import read_timestamp
from kannon.adapters.pb.mailer_pb2 import SendHTMLReq
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.addresses import EmailAddress, InvalidAddress
from kannon.core.batches import NewBatch, NewRecipient
from kannon.core.errors import BadInput
from kannon.core.fields import header_safe

MAX_HTML_KB: Final = 500
INVALID_EMAIL: Final = "invalid_email"
DUPLICATE_RECIPIENT: Final = "duplicate_recipient"

_NO_FIELDS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Content:
    """What all Recipients of a call share.

    Attributes:
        rules: what fields may hold.
        expires_at: end of the Retry Budget.
    """

    sender: EmailAddress
    alias: str
    subject: str
    html: str
    global_fields: Mapping[str, str]
    rules: FieldRules
    scheduled_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedRecipient:
    """A Recipient that is not taken: the address as the call had it, and a stable token."""

    email: str
    reason: str


class RecipientReader:
    """Reads Recipients, one after the other.

    Two are the same if their local parts are, to the letter (RFC 5321 §2.4), and their domains are, however
    these are written.
    """

    def __init__(self, rules: FieldRules) -> None:
        self.taken: list[NewRecipient] = []
        self.refused: list[RefusedRecipient] = []
        self._rules = rules
        self._seen: set[str] = set()
        self._index = 0

    def read(self, recipient: Recipient) -> None:
        """Read the next one.

        Raises:
            BadInput: a field's value cannot be stored, not stand where subject or HTML put it, or makes the
                subject or the message too large.
            NotBuilt: the Recipient asks for what is not there yet.
        """
        self._read(f"recipients[{self._index}]", recipient)
        self._index += 1

    def _read(self, place: str, recipient: Recipient) -> None:
        if recipient.HasField("tracking"):
            raise NotBuilt(f"{place}.tracking")
        try:
            address = str(EmailAddress.parse(recipient.email))
        except InvalidAddress:
            self.refused.append(RefusedRecipient(recipient.email, INVALID_EMAIL))
            return
        if address in self._seen:
            self.refused.append(RefusedRecipient(recipient.email, DUPLICATE_RECIPIENT))
            return
        fields = dict(recipient.fields)
        self._rules.check(place, address, fields)
        self._seen.add(address)
        self.taken.append(NewRecipient(address, fields or _NO_FIELDS))


def read_content(request: SendHTMLReq, now: datetime, retry_budget: timedelta) -> Content:
    """Read all of a call but its Recipients.

    Raises:
        BadInput: a value is not valid; the text names its field.
        NotBuilt: the call asks for what is not there yet.
    """
    _refuse_unbuilt(request)
    sender = _sender(request.sender.email)
    _check_header("sender.alias", request.sender.alias)
    _check_header("subject", request.subject)
    _check_html(request.html)
    global_fields = dict(request.global_fields)
    scheduled_at, expires_at = _times(request, now, retry_budget)
    return Content(
        sender=sender,
        alias=request.sender.alias,
        subject=request.subject,
        html=request.html,
        global_fields=global_fields,
        rules=FieldRules(request.subject, request.html, global_fields),
        scheduled_at=scheduled_at,
        expires_at=expires_at,
    )


def new_batch(
    content: Content, recipients: Iterable[NewRecipient], domain: str, name: str, traceparent: str
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
        template_id=f"{name}@{domain}",
        template_html=content.html,
        global_fields=content.global_fields,
        scheduled_at=content.scheduled_at,
        expires_at=content.expires_at,
        traceparent=traceparent,
        recipients=tuple(recipients),
    )


def _refuse_unbuilt(request: SendHTMLReq) -> None:
    if request.attachments:
        raise NotBuilt("attachments")
    for field in ("headers", "tracking", "one_click_unsubscribe"):
        if request.HasField(field):
            raise NotBuilt(field)


def _sender(email: str) -> EmailAddress:
    try:
        return EmailAddress.parse(email)
    except InvalidAddress as error:
        raise BadInput(f"sender.email: {error.reason}") from None


def _check_header(field: str, value: str) -> None:
    if not header_safe(value):
        raise BadInput(f"{field}: must not hold CR, LF or NUL")
    if len(value) > MAX_HEADER_CHARACTERS:
        raise BadInput(f"{field}: must not be longer than {MAX_HEADER_CHARACTERS} characters")


def _check_html(html: str) -> None:
    if not html:
        raise BadInput("html: must not be empty")
    if "\0" in html:
        raise BadInput("html: must not hold NUL")
    if len(html.encode()) > MAX_HTML_KB * 1024:
        raise BadInput(f"html: must not be larger than {MAX_HTML_KB} KB")


def _times(request: SendHTMLReq, now: datetime, retry_budget: timedelta) -> tuple[datetime, datetime]:
    at = now
    if request.HasField("scheduled_time"):
        at = max(now, read_timestamp("scheduled_time", request.scheduled_time))
    try:
        return at, at + retry_budget
    except OverflowError:
        raise BadInput("scheduled_time: too far in the future") from None
