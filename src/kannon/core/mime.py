"""The message of a Delivery: a skeleton made once per Batch, and what each Recipient gets spliced into it."""

import binascii
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Self

from kannon.core.fields import UnsafeHeader, header_safe

MAX_LINE: Final = 76  # RFC 2045 §6.7 for bodies, RFC 2047 §2 for headers; RFC 5322 §2.1.1 would take 78

_ENCODED_WORD_BYTES: Final = 39  # 64 characters once encoded: `Subject: ` fits before them
_SHORT: Final = 60  # characters that fit on the first line of any header of ours
_WORDS = re.compile(r"[!-~]{1,60}(?: [!-~]{1,60})*")  # ASCII that folds at its spaces and comes back the same
_BOUNDARY_SEED = re.compile(r"[A-Za-z0-9._-]{1,50}")
_OVERLONG = re.compile(rb"^(.{74,75})(=20|=09)$", re.MULTILINE)  # b2a_qp does not count what it encodes last
_TEXT_MARK, _HTML_MARK = "THE TEXT", "THE HTML"  # a boundary has no spaces, so it cannot hold them


@dataclass(frozen=True, slots=True)
class Message:
    """A built message.

    Attributes:
        headers: names and values in order; a value may be folded, and stops before its last CRLF.
        body: all that follows the empty line, ending in CRLF.
    """

    headers: tuple[tuple[str, bytes], ...]
    body: bytes

    def as_bytes(self) -> bytes:
        """The message as it goes on the wire, before dots are stuffed (RFC 5321 §4.5.2)."""
        lines = [b"%b: %b\r\n" % (name.encode(), value) for name, value in self.headers]
        return b"".join((*lines, b"\r\n", self.body))


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What the messages of a Batch share: `multipart/alternative` of text and HTML (RFC 2046 §5.1.4)."""

    sender: bytes
    date: bytes
    mime: tuple[tuple[str, bytes], ...]
    opening: bytes
    between: bytes
    closing: bytes

    @classmethod
    def make(cls, *, sender: str, alias: str, date: datetime, boundary: str) -> Self:
        """Lay out the messages of a Batch.

        Args:
            sender: the address in From.
            alias: the name shown with it; may be empty.
            date: the Date of all of them, aware.
            boundary: what the boundary between the parts is made from, the same whenever the same Batch is
                built: 1 to 50 letters, digits, `.`, `_`, `-`.

        Raises:
            UnsafeHeader: sender or alias hold CR, LF or NUL.
            ValueError: the date is naive, or the boundary has other characters.
        """
        if date.tzinfo is None:
            raise ValueError("the date must be aware")
        if not _BOUNDARY_SEED.fullmatch(boundary):
            raise ValueError("the boundary takes letters, digits, '.', '_' and '-', at most 50")
        head, _, body = _laid_out(date, boundary).partition(b"\r\n\r\n")
        headers = dict(line.split(b": ", 1) for line in re.split(rb"\r\n(?! )", head))
        opening, _, rest = body.partition(_TEXT_MARK.encode())
        between, _, closing = rest.partition(_HTML_MARK.encode())
        return cls(
            sender=mailbox(sender, alias),
            date=headers[b"Date"],
            mime=tuple((name, headers[name.encode()]) for name in ("MIME-Version", "Content-Type")),
            opening=opening,
            between=between.removeprefix(b"\r\n"),
            closing=closing.removeprefix(b"\r\n"),
        )

    def build(
        self,
        to: str,
        message_id: str,
        subject: str,
        text: str | bytes,
        html: str | bytes,
        extra: Sequence[tuple[str, str]] = (),
    ) -> Message:
        """Make the message for one Recipient.

        Args:
            to: the address or addresses in To, with `, ` between them. A local part that is not ASCII is
                written as it is (RFC 6532): such a message needs SMTPUTF8.
            message_id: with its angle brackets.
            subject: any text; what is not ASCII is encoded (RFC 2047).
            text: the text part; bytes are taken as what `encode_body` gave.
            html: the HTML part; likewise.
            extra: more headers, such as Cc or List-Unsubscribe, with values that need no encoding.

        Raises:
            UnsafeHeader: a value that is to be a header holds CR, LF or NUL.
        """
        headers = (
            ("From", self.sender),
            ("To", _listed("To", to)),
            ("Subject", _unstructured("Subject", subject)),
            ("Date", self.date),
            ("Message-ID", _listed("Message-ID", message_id)),
            *((name, _listed(name, value)) for name, value in extra),
            *self.mime,
        )
        parts = (self.opening, _encoded(text), self.between, _encoded(html), self.closing)
        return Message(headers, b"".join(parts))


def encode_body(text: str) -> bytes:
    """Encode a part's text: UTF-8, quoted-printable, lines of at most 76 ended by CRLF (RFC 2045 §6.7)."""
    data = text.encode("utf-8", "replace")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    encoded = binascii.b2a_qp(data)
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _OVERLONG.sub(rb"\1=\n\2", encoded)
    return encoded.replace(b"\n", b"\r\n")


def mailbox(address: str, alias: str = "") -> bytes:
    """Write an address with the name that is shown for it, as a header has it (RFC 5322 §3.4, RFC 2047 §5).

    Raises:
        UnsafeHeader: address or alias hold CR, LF or NUL.
    """
    if not (header_safe(address) and header_safe(alias)):
        raise UnsafeHeader("From")
    if not alias:
        return address.encode("utf-8", "replace")
    quoted = alias.replace("\\", "\\\\").replace('"', '\\"')
    name = b'"%b"' % _folded(quoted) if _is_plain(quoted) else _encoded_words(alias)
    bracketed = b"<%b>" % address.encode("utf-8", "replace")
    separator = b" " if len(name) + len(bracketed) <= _SHORT else b"\r\n "
    return name + separator + bracketed


def _laid_out(date: datetime, boundary: str) -> bytes:
    message = EmailMessage(SMTP)
    message["Date"] = date
    message.set_content(_TEXT_MARK, cte="quoted-printable")
    message.add_alternative(_HTML_MARK, subtype="html", cte="quoted-printable")
    for part in message.iter_parts():
        del part["MIME-Version"]
    message.set_boundary(
        f"=_{boundary}"
    )  # quoted-printable never holds `=_`, so no part can hold the boundary
    return message.as_bytes()


def _encoded(part: str | bytes) -> bytes:
    return part if isinstance(part, bytes) else encode_body(part)


def _listed(name: str, value: str) -> bytes:
    if not header_safe(value):
        raise UnsafeHeader(name)
    folded = value if len(value) <= _SHORT else value.replace(", ", ",\r\n ")
    return folded.encode("utf-8", "replace")


def _unstructured(name: str, value: str) -> bytes:
    if not header_safe(value):
        raise UnsafeHeader(name)
    return _folded(value) if _is_plain(value) else _encoded_words(value)


def _is_plain(value: str) -> bool:
    return _WORDS.fullmatch(value) is not None and "=?" not in value


def _folded(words: str) -> bytes:
    if len(words) <= _SHORT:
        return words.encode()
    lines = textwrap.wrap(words, _SHORT, break_long_words=False, break_on_hyphens=False)
    return "\r\n ".join(lines).encode()


def _encoded_words(value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    words = []
    start = 0
    while start < len(data):
        end = start + _ENCODED_WORD_BYTES
        while end < len(data) and data[end] & 0xC0 == 0x80:  # a character stays in one word (RFC 2047 §5)
            end -= 1
        words.append(b"=?utf-8?B?%b?=" % binascii.b2a_base64(data[start:end], newline=False))
        start = end
    return b"\r\n ".join(words)
