"""What a send call asks for, and what the ledger keeps of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kannon.core.batch_options import NO_OPTIONS, BatchOptions, Syntax
from kannon.core.deliveries import DeliveryId, Standing, Status
from kannon.core.tracking.policy import UNTRACKED, Policy

KEYS_KEPT_FOR: Final = timedelta(hours=24)
"""For so long after its answer a call may be repeated under its key."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a mail says, placeholders as written; it never changes.

    Attributes:
        text: given with the HTML, or made from it; empty if it is made from each mail's own HTML.
        syntax: how placeholders are written in both.
        css_inlined: the styles of the HTML were written into its tags.
    """

    html: str
    text: str
    syntax: Syntax = Syntax.PLAIN
    css_inlined: bool = False


@dataclass(frozen=True, slots=True)
class NewRecipient:
    """A Recipient that intake took.

    Attributes:
        tracking: what may be learnt of this reader; None: what the Batch says.
    """

    address: str
    fields: Mapping[str, str]
    tracking: Policy | None = None


@dataclass(frozen=True, slots=True)
class AttachmentRef:
    """An attachment of a Batch, whose content is in the attachment store. Each may stand in a header.

    Attributes:
        digest: SHA-256 of its content, in hexadecimal.
        size: its octets.
    """

    filename: str
    content_type: str
    content_id: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A send call, parsed and checked; what it names is valid.

    Attributes:
        message_id: `msg_<id>@<domain>`, the Batch's name on the wire.
        template_id: `<id>@<domain>`.
        body: that of a transient Template to be made, or the number of one that is stored.
        tracking: what may be learnt of readers, where a Recipient has no stricter policy.
    """

    message_id: str
    domain: str
    sender_email: str
    sender_alias: str
    subject: str
    template_id: str
    body: Body | int
    global_fields: Mapping[str, str]
    scheduled_at: datetime
    expires_at: datetime
    traceparent: str
    recipients: Collection[NewRecipient]
    tracking: Policy = UNTRACKED
    attachments: Sequence[AttachmentRef] = ()
    options: BatchOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class KeyedAnswer:
    """The answer to a call that came with an idempotency key.

    Attributes:
        domain: who called.
        key: as the caller chose it.
        content_hash: SHA-256 of what was asked for.
        answer: encoded as the gateway does it.
        at: when it was given.
    """

    domain: str
    key: str
    content_hash: bytes
    answer: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class BatchContent:
    """What every Delivery of a Batch shares.

    Attributes:
        dkim_private_key: PKCS #8 DER, opened.
        created_at: when it was asked for.
        retry_budget: the span from when a Delivery is scheduled to when it expires.
        tracking: what may be learnt of readers, where a Delivery has no stricter policy.
        syntax: of subject, HTML and text.
    """

    number: int
    message_id: str
    domain: str
    sender_email: str
    sender_alias: str
    subject: str
    html: str
    text: str
    global_fields: Mapping[str, str]
    created_at: datetime
    retry_budget: timedelta
    traceparent: str
    dkim_private_key: bytes
    tracking: Policy = UNTRACKED
    attachments: Sequence[AttachmentRef] = ()
    syntax: Syntax = Syntax.PLAIN
    options: BatchOptions = NO_OPTIONS

    @property
    def own_text(self) -> str:
        """The text part, placeholders as written: the call's, or that of the body."""
        return self.options.text or self.text

    def dated_at(self, standing: Standing) -> datetime:
        """The Date of a Delivery's message, the same for each Attempt: when it was asked for or scheduled."""
        return max(self.created_at, standing.expires_at - self.retry_budget)


@dataclass(frozen=True, slots=True)
class Move:
    """What a decision changes in a Delivery's row.

    Attributes:
        emission: publishings of the current Attempt so far; 0 when a new Attempt is due.
        published_seq: where the stream of Envelopes keeps the last publishing; None if untouched.
        answered: an exchanger answered an Attempt; what was once written so stays so.
        untaken: whether the edge said that it has not taken the last publishing.
    """

    id: DeliveryId
    status: Status
    attempts: int
    emission: int
    due_at: datetime
    edge: str | None = None
    published_seq: int | None = None
    answered: bool = False
    untaken: bool = False


TOLD_ONCE: Final = frozenset({"bounced", "complained"})
"""Types of Outcomes of which a Delivery has one at the most, by a transmission or by a report."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a Delivery, to be written once.

    Attributes:
        type: as the Stats API names it: accepted, rejected, delivered, bounced, failed, error,
            complained.
        attempt: 0 for what came before the first Attempt.
        data: what this kind of Outcome knows, as the Stats API gives it.
        only_first: not to be written where the Delivery has one of this type already, whenever that was.
    """

    id: DeliveryId
    type: str
    attempt: int
    at: datetime
    recipient: str
    message_id: str
    domain: str
    data: Mapping[str, Any]
    only_first: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """A Delivery's row, locked for work.

    Attributes:
        first_emitted_at: when its current Attempt was first published; None if no edge can have it.
        tracking: what may be learnt of this reader; None: what the Batch says.
    """

    id: DeliveryId
    recipient: str
    fields: Mapping[str, str]
    standing: Standing
    edge: str
    message_id: str
    domain: str
    first_emitted_at: datetime | None = None
    tracking: Policy | None = None

    @property
    def may_be_out(self) -> bool:
        """Whether an edge may have an Envelope of its current Attempt."""
        return self.first_emitted_at is not None

    def moved(self, status: Status, due_at: datetime | None = None) -> Move:
        """The move to `status` that keeps all else, but for `due_at` where it is given."""
        standing = self.standing
        return Move(
            self.id,
            status,
            standing.attempts,
            standing.emission,
            due_at or standing.due_at,
            answered=standing.answered,
        )

    def outcome(self, kind: str, attempt: int, at: datetime, data: Mapping[str, Any]) -> Outcome:
        """What became of it, as the statistics call it."""
        return Outcome(self.id, kind, attempt, at, self.recipient, self.message_id, self.domain, data)
