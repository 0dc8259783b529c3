"""From a Batch's content and a Delivery's row to a signed Envelope. No I/O."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from functions.dispatch.marking import BODIES_REMEMBERED, MarkedHtml, TokenMaker
from kannon.core import dkim
from kannon.core.added_headers import CompiledHeaders, one_click
from kannon.core.addresses import EmailAddress
from kannon.core.attachments import Attachment
from kannon.core.batch_options import NO_HEADERS, Syntax
from kannon.core.batches import BatchContent, Delivery
from kannon.core.envelope_seal import sealed
from kannon.core.envelopes import MAX_CHUNK_BYTES, Envelope, Rest
from kannon.core.errors import BadInput
from kannon.core.fields import compile_header, compile_text, merge_fields
from kannon.core.mime import Message, Skeleton
from kannon.core.quoted_printable import Quoted, QuotedPattern
from kannon.core.retries import attempt_expires_at
from kannon.core.return_path import KEY_ID, Use, mint
from kannon.core.stored_objects import ENVELOPES, ENVELOPES_KEPT_FOR, passing_name

if TYPE_CHECKING:
    from functions.dispatch.liquid_parts import LiquidParts

DKIM_SELECTOR = "kannon"
SIGNERS_REMEMBERED = 64
REPORTS_TAKEN_FOR = timedelta(days=14)
"""After a Delivery's Retry Budget, for this long its return path takes reports."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What dispatch seals and signs with.

    Attributes:
        unsubscribing: whether mails name an address by which one unsubscribes by mail, too.
    """

    envelopes: bytes
    return_paths: bytes
    return_path_key_id: int = KEY_ID
    unsubscribing: bool = False


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A message that is still to be signed, and what its Envelope says.

    Attributes:
        recipient: the address that it goes to.
        opening: the message up to its closing, without the signature.
        emission: which publishing of the Attempt it is for.
        now: when it was laid out.
    """

    delivery: Delivery
    recipient: str
    opening: bytes
    signature: dkim.Unsigned
    emission: int
    now: datetime


class TooLarge(BadInput):
    """The built message is larger than is allowed."""


class BatchBuilder:
    """Builds the Envelopes of one Batch; what its Deliveries share is made once.

    Args:
        content: the Batch.
        keys: dispatch's keys.
        tokens: what makes those in links and pixels.
        attachments: of the Batch, in order.
        max_message: octets of the largest message.
    """

    def __init__(
        self,
        content: BatchContent,
        keys: Keys,
        tokens: TokenMaker,
        attachments: Sequence[Attachment] = (),
        max_message: int = MAX_CHUNK_BYTES,
    ) -> None:
        self._content = content
        self._keys = keys
        self._max_message = max_message
        self._signer = _signer(content.domain, content.dkim_private_key)
        skeleton = Skeleton.make(
            sender=content.sender_email,
            alias=content.sender_alias,
            date=content.created_at,
            boundary=f"kannon-{content.number}",
            attachments=attachments,
        )
        self._closing = skeleton.closing
        self._dated = (content.created_at, skeleton)
        self._html = MarkedHtml(content, tokens)
        self._subject, self._text = compile_header(content.subject), _text(content.own_text)
        self._liquid = _liquid(content)
        self._headers = _headers(content)
        self._hashed: tuple[Quoted, bytes] | None = None
        self._closing_digest = b""

    @property
    def octets(self) -> int:
        """What its attachments take in memory."""
        wire, canonical = self._closing.wire, self._closing.canonical
        return len(wire) + (len(canonical) if canonical is not wire else 0)

    def build(self, delivery: Delivery, emission: int, now: datetime) -> Envelope:
        """The Envelope of the Delivery's current Attempt.

        Args:
            emission: which publishing of the Attempt it is for, from 1.

        Raises:
            UnsafeField: a field's value may not stand where the Template puts it.
            BadTemplate: the Template cannot be written with these fields, or not within its limits.
            TooLarge: the message is larger than is allowed.
        """
        return self.sign(self.lay_out(delivery, emission, now))

    def lay_out(self, delivery: Delivery, emission: int, now: datetime) -> LaidOut:
        """What of `build` is work of Python; arguments and errors are the same."""
        recipient = EmailAddress.parse(delivery.recipient).wire
        fields = merge_fields(delivery.recipient, self._content.global_fields, delivery.fields)
        subject, text, html = self._parts(delivery, fields)
        to, extra = self._added(delivery, fields)
        message = self._skeleton(delivery).build(
            to=to or recipient,
            message_id=f"<{delivery.id}@{self._content.domain}>",
            subject=subject,
            text=text,
            html=html,
            extra=extra,
        )
        body_hash = self._body_hash(delivery, message, html)
        signature = self._signer.unsigned(message.headers, body_hash, int(now.timestamp()))
        return LaidOut(delivery, recipient, message.opening(), signature, emission, now)

    def sign(self, laid_out: LaidOut) -> Envelope:
        """The rest of `build`: most of its time is the signature, made outside the interpreter's lock.

        Raises:
            TooLarge: the message is larger than is allowed.
        """
        delivery, now = laid_out.delivery, laid_out.now
        expires_at = attempt_expires_at(delivery, now)
        signature = self._signer.signature(laid_out.signature)
        body, rest = self._parted(signature + laid_out.opening, expires_at)
        unsealed = Envelope(
            delivery=delivery.id,
            attempt=delivery.standing.current_attempt,
            emission=laid_out.emission,
            sender=self._content.sender_email,
            recipient=laid_out.recipient,
            return_path=self._address(delivery, Use.REPORTS),
            body=body,
            first_emitted_at_ms=_unix_ms(delivery.first_emitted_at or now),
            expires_at_ms=_unix_ms(expires_at),
            hmac=b"",
            rest=rest,
        )
        return sealed(self._keys.envelopes, unsealed)

    def _parted(self, opening: bytes, expires_at: datetime) -> tuple[bytes, Rest | None]:
        """The message, as far as it fits into an event, and what of it has to go by the store.

        Attachments do as a whole: they are the same in all messages of the Batch, and stored once.
        """
        closing = self._closing.wire
        size = len(opening) + len(closing)
        if size > self._max_message:
            raise TooLarge(f"the message has {size} octets, {self._max_message} are allowed")
        if size <= MAX_CHUNK_BYTES:
            return opening + closing, None
        until = expires_at + ENVELOPES_KEPT_FOR
        if len(opening) > MAX_CHUNK_BYTES:
            whole = opening + closing
            return b"", _rest(whole, hashlib.sha256(whole).digest(), until)
        self._closing_digest = self._closing_digest or hashlib.sha256(closing).digest()
        return opening, _rest(closing, self._closing_digest, until)

    def _parts(self, delivery: Delivery, fields: Mapping[str, str]) -> tuple[str, Quoted, Quoted]:
        """Subject, text and HTML."""
        if self._liquid is not None:
            subject, text, html = self._liquid.render(fields)
            return subject, Quoted.encode(text), self._html.mark(delivery, html)
        html_part = self._html.render(delivery, fields)
        return self._subject.render(fields), self._text.render(fields), html_part

    def _added(
        self, delivery: Delivery, fields: Mapping[str, str]
    ) -> tuple[bytes | None, Sequence[tuple[str, bytes]]]:
        """What stands in To, if it is not the Recipient, and the headers that most mails do not have."""
        if self._headers is None:
            return None, ()
        written = self._headers.write(fields)
        if not self._content.options.headers.hosted_unsubscribe:
            return written.to, written.others
        address = self._address(delivery, Use.UNSUBSCRIBING) if self._keys.unsubscribing else ""
        return written.to, (*written.others, *one_click(self._html.unsubscribe_address(delivery), address))

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
            return dkim.canonical_body_hash(*message.canonical)
        last = self._hashed
        if last is None or last[0] is not html:
            last = self._hashed = (html, dkim.canonical_body_hash(*message.canonical))
        return last[1]

    def _address(self, delivery: Delivery, use: Use) -> str:
        return mint(
            self._keys.return_paths,
            self._keys.return_path_key_id,
            delivery.id.batch,
            delivery.id.seq,
            delivery.standing.expires_at + REPORTS_TAKEN_FOR,
            self._content.domain,
            use,
        )


@lru_cache(SIGNERS_REMEMBERED)
def _signer(domain: str, private_key: bytes) -> dkim.Signer:
    """Remembered: the first signature of a key takes several times as long as any other."""
    return dkim.Signer(domain, DKIM_SELECTOR, private_key)


@lru_cache(BODIES_REMEMBERED)
def _text(text: str) -> QuotedPattern:
    return QuotedPattern(compile_text(text))


def _headers(content: BatchContent) -> CompiledHeaders | None:
    headers = content.options.headers
    return CompiledHeaders(headers) if headers != NO_HEADERS else None


def _liquid(content: BatchContent) -> "LiquidParts | None":
    if content.syntax is not Syntax.LIQUID:
        return None
    from functions.dispatch.liquid_parts import LiquidParts  # here: python-liquid takes 19 MB

    return LiquidParts(content)


def _rest(octets: bytes, digest: bytes, until: datetime) -> Rest:
    return Rest(passing_name(ENVELOPES, until, digest.hex()), len(octets), digest, octets)


def _unix_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
