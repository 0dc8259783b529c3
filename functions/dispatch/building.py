"""From a Batch's content and a Delivery's row to a signed Envelope. No I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from functions.dispatch.marking import BODIES_REMEMBERED, MarkedHtml, TokenMaker
from kannon.core import dkim
from kannon.core.addresses import EmailAddress
from kannon.core.batches import BatchContent, Delivery
from kannon.core.envelope_seal import sealed
from kannon.core.envelopes import MAX_MESSAGE_BYTES, Envelope
from kannon.core.errors import BadInput
from kannon.core.fields import compile_header, compile_text, merge_fields
from kannon.core.mime import Message, Skeleton
from kannon.core.quoted_printable import Quoted, QuotedPattern
from kannon.core.retries import attempt_expires_at
from kannon.core.return_path import KEY_ID, mint

DKIM_SELECTOR = "kannon"
REPORTS_TAKEN_FOR = timedelta(days=14)
"""After a Delivery's Retry Budget, for this long its return path takes reports."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What dispatch seals and signs with."""

    envelopes: bytes
    return_paths: bytes
    return_path_key_id: int = KEY_ID


class TooLarge(BadInput):
    """The built message does not fit into an event."""


class BatchBuilder:
    """Builds the Envelopes of one Batch; what its Deliveries share is made once.

    Args:
        content: the Batch.
        keys: dispatch's keys.
        tokens: what makes those in links and pixels.
    """

    def __init__(self, content: BatchContent, keys: Keys, tokens: TokenMaker) -> None:
        self._content = content
        self._keys = keys
        self._signer = dkim.Signer(content.domain, DKIM_SELECTOR, content.dkim_private_key)
        skeleton = Skeleton.make(
            sender=content.sender_email,
            alias=content.sender_alias,
            date=content.created_at,
            boundary=f"kannon-{content.number}",
        )
        self._dated = (content.created_at, skeleton)
        self._subject = compile_header(content.subject)
        self._html, self._text = MarkedHtml(content, tokens), _text(content.text)
        self._hashed: tuple[Quoted, bytes] | None = None

    def build(self, delivery: Delivery, emission: int, now: datetime) -> Envelope:
        """The Envelope of the Delivery's current Attempt.

        Args:
            emission: which publishing of the Attempt it is for, from 1.

        Raises:
            UnsafeField: a field's value may not stand where the Template puts it.
            TooLarge: the message does not fit into an event.
        """
        standing = delivery.standing
        recipient = EmailAddress.parse(delivery.recipient).wire
        expires_at_ms = _unix_ms(attempt_expires_at(delivery, now))
        unsealed = Envelope(
            delivery=delivery.id,
            attempt=standing.current_attempt,
            emission=emission,
            sender=self._content.sender_email,
            recipient=recipient,
            return_path=self._return_path(delivery),
            body=self._message(delivery, recipient, now),
            first_emitted_at_ms=_unix_ms(delivery.first_emitted_at or now),
            expires_at_ms=expires_at_ms,
            hmac=b"",
        )
        return sealed(self._keys.envelopes, unsealed)

    def _message(self, delivery: Delivery, recipient: str, now: datetime) -> bytes:
        fields = merge_fields(delivery.recipient, self._content.global_fields, delivery.fields)
        html = self._html.render(delivery, fields)
        message = self._skeleton(delivery).build(
            to=recipient,
            message_id=f"<{delivery.id}@{self._content.domain}>",
            subject=self._subject.render(fields),
            text=self._text.render(fields),
            html=html,
        )
        body_hash = self._body_hash(delivery, message, html)
        signature = self._signer.sign(message.headers, body_hash, int(now.timestamp()))
        built = signature + message.as_bytes()
        if len(built) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"the message has {len(built)} octets, {MAX_MESSAGE_BYTES} are allowed")
        return built

    def _skeleton(self, delivery: Delivery) -> Skeleton:
        """The one with the Delivery's Date: all of a Batch have the same, unless it was moved."""
        date = self._content.dated_at(delivery.standing)
        last, skeleton = self._dated
        if last != date:
            skeleton = skeleton.dated(date)
            self._dated = (date, skeleton)
        return skeleton

    def _body_hash(self, delivery: Delivery, message: Message, html: Quoted) -> bytes:
        if not (self._text.is_constant and self._html.is_shared(delivery)):
            return dkim.canonical_body_hash(message.canonical)
        last = self._hashed
        if last is None or last[0] is not html:
            last = self._hashed = (html, dkim.canonical_body_hash(message.canonical))
        return last[1]

    def _return_path(self, delivery: Delivery) -> str:
        return mint(
            self._keys.return_paths,
            self._keys.return_path_key_id,
            delivery.id.batch,
            delivery.id.seq,
            delivery.standing.expires_at + REPORTS_TAKEN_FOR,
            self._content.domain,
        )


@lru_cache(BODIES_REMEMBERED)
def _text(text: str) -> QuotedPattern:
    return QuotedPattern(compile_text(text))


def _unix_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
