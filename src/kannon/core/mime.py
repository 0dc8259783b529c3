"""The message of a Delivery: a skeleton made once per Batch, and what each Recipient gets spliced into it."""

import binascii
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Final, Self

from kannon.core.attachments import Attachment
from kannon.core.body_parts import MAX_LINE, header, multipart, quoted
from kannon.core.canonical import relaxed_body, relaxed_lines, spaces_folded
from kannon.core.fields import UnsafeHeader, header_safe
from kannon.core.quoted_printable import Quoted, encode_body

__all__ = ["MAX_LINE", "Message", "Skeleton", "encode_body", "mailbox", "structured", "unstructured"]

_ENCODED_WORD_BYTES: Final = 39  # 64 characters once encoded: `Subject: ` fits before them
_AROUND_A_WORD: Final = len("=?utf-8?B??=")
_SHORT: Final = 60  # characters that fit on the first line of any header of ours
_WORDS = re.compile(r"[!-~]{1,60}(?: [!-~]{1,60})*")  # ASCII that folds at its spaces and comes back the same
_LONG_WORDS = re.compile(r"[!-~]{1,900}(?: [!-~]{1,900})*")  # likewise, within 998 octets (RFC 5322 §2.1.1)
_BOUNDARY_SEED = re.compile(r"[A-Za-z0-9._-]{1,50}")
_TEXT_MARK, _HTML_MARK = b"\0text", b"\0html"  # nothing that is laid out holds NUL


@dataclass(frozen=True, slots=True)
class Message:
    """A built message.

    Attributes:
        headers: names and values in order; a value may be folded, and stops before its last CRLF.
        start: what follows the empty line and is made for this message.
        closing: what follows that, ending in CRLF; all messages of a Batch share it.
    """

    headers: tuple[tuple[str, bytes], ...]
    start: Quoted
    closing: Quoted

    @property
    def body(self) -> bytes:
        """All that follows the empty line, ending in CRLF."""
        return self.start.wire + self.closing.wire

    @property
    def canonical(self) -> tuple[bytes, bytes]:
        """The body, relaxed (RFC 6376 §3.4.4), in two pieces."""
        return self.start.canonical, self.closing.canonical

    def opening(self) -> bytes:
        """The message up to its `closing`, before dots are stuffed for the wire (RFC 5321 §4.5.2)."""
        lines = [b"%b: %b\r\n" % (name.encode(), value) for name, value in self.headers]
        return b"".join((*lines, b"\r\n", self.start.wire))

    def as_bytes(self) -> bytes:
        """The message as it goes on the wire, before dots are stuffed."""
        return self.opening() + self.closing.wire


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What the messages of a Batch share: `multipart/alternative` of text and HTML (RFC 2046 §5.1.4).

    Images that the HTML shows stand with it in `multipart/related` (RFC 2387), other attachments behind the
    whole in `multipart/mixed`; all of them encoded already, in `closing`.
    """

    sender: bytes
    date: bytes
    mime: tuple[tuple[str, bytes], ...]
    opening: Quoted
    between: Quoted
    closing: Quoted

    @classmethod
    def make(
        cls, *, sender: str, alias: str, date: datetime, boundary: str, attachments: Sequence[Attachment] = ()
    ) -> Self:
        """Lay out the messages of a Batch.

        Args:
            sender: the address in From.
            alias: the name shown with it; may be empty.
            date: the Date of all of them, aware.
            boundary: what the boundaries between the parts are made from, the same whenever the same Batch
                is built: 1 to 50 letters, digits, `.`, `_`, `-`.
            attachments: what all of them carry, in order.

        Raises:
            UnsafeHeader: sender or alias hold CR, LF or NUL, or two attachments have one content_id.
            ValueError: the date is naive, or the boundary has other characters.
        """
        if date.tzinfo is None:
            raise ValueError("the date must be aware")
        if not _BOUNDARY_SEED.fullmatch(boundary):
            raise ValueError("the boundary takes letters, digits, '.', '_' and '-', at most 50")
        head, *pieces = _laid_out(boundary, attachments)
        text_at, html_at = pieces.index(_TEXT_MARK), pieces.index(_HTML_MARK)
        opening, between = b"".join(pieces[:text_at]), b"".join(pieces[text_at + 1 : html_at])
        closing = b"".join((*pieces[html_at + 1 :], b"\r\n"))
        del pieces  # as large as the closing; what follows takes as much again for a while
        return cls(
            sender=mailbox(sender, alias),
            date=format_datetime(date).encode(),
            mime=(("MIME-Version", b"1.0"), ("Content-Type", head.removeprefix(b"Content-Type: ").rstrip())),
            opening=Quoted(opening, relaxed_lines(opening)),
            between=Quoted(between, relaxed_lines(between)),
            closing=Quoted(closing, _once(closing, relaxed_body(closing))),
        )

    def dated(self, date: datetime) -> Self:
        """The same with another Date, aware."""
        return replace(self, date=format_datetime(date).encode())

    def build(
        self,
        to: str | bytes,
        message_id: str,
        subject: str,
        text: str | bytes | Quoted,
        html: str | bytes | Quoted,
        extra: Sequence[tuple[str, str | bytes]] = (),
    ) -> Message:
        """Make the message for one Recipient.

        Args:
            to: the address or addresses in To, with `, ` between them; bytes are written as they are. A local
                part that is not ASCII is written as it is (RFC 6532): such a message needs SMTPUTF8.
            message_id: with its angle brackets.
            subject: any text; what is not ASCII is encoded (RFC 2047).
            text: the text part; bytes are taken as what `encode_body` gave.
            html: the HTML part; likewise.
            extra: more headers, such as Cc or List-Unsubscribe, with values that need no encoding; likewise.

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
        parts = (self.opening, _quoted(text), self.between, _quoted(html))
        start = Quoted(b"".join([part.wire for part in parts]), b"".join([part.canonical for part in parts]))
        return Message(headers, start, self.closing)


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


def unstructured(name: str, value: str) -> bytes:
    """Write a header's text: folded if it is plain ASCII, else encoded, so that it comes back to the letter.

    Args:
        name: of the header, at most 50 characters.
        value: any text (RFC 5322 §2.2.1, RFC 2047).

    Raises:
        UnsafeHeader: it holds CR, LF or NUL.
    """
    if not header_safe(value):
        raise UnsafeHeader(name)
    if _LONG_WORDS.fullmatch(value) and "=?" not in value:
        return _folded_behind(name, value)
    room = MAX_LINE - len(f"{name}: ") - _AROUND_A_WORD
    return _encoded_words(value, min(_ENCODED_WORD_BYTES, room // 4 * 3))


def structured(name: str, value: str) -> bytes:
    """Write a header that programs read, folded at its spaces (RFC 5322 §2.2.2, §2.2.3).

    Raises:
        UnsafeHeader: it is not plain ASCII, has a word of more than 900 characters, or holds `=?`, which
            would be read as an encoded word.
    """
    words = " ".join(filter(None, value.split(" ")))
    if not _LONG_WORDS.fullmatch(words) or "=?" in words:
        raise UnsafeHeader(name, "must be printable ASCII without `=?`, and without very long words")
    return _folded_behind(name, words)


def _laid_out(boundary: str, attachments: Sequence[Attachment]) -> Sequence[bytes]:
    """The message from its Content-Type on, with marks in the places of text and HTML.

    Neither quoted-printable nor base64 ever holds `=_`, so no part holds a boundary. None of them begins with
    another: what they are made from holds no `=`.
    """
    shown = [attachment for attachment in attachments if attachment.is_inline]
    kept = [attachment for attachment in attachments if not attachment.is_inline]
    if len({attachment.content_id for attachment in shown}) < len(shown):
        raise UnsafeHeader("content_id", "must not be that of another attachment")
    html = _text_part("html", _HTML_MARK)
    if shown:
        parts = [html, *(attachment.as_part() for attachment in shown)]
        html = multipart("related", f"=_=related-{boundary}", parts, [quoted("type", "text/html")])
    message = multipart("alternative", f"=_{boundary}", [_text_part("plain", _TEXT_MARK), html])
    if kept:
        parts = [message, *(attachment.as_part() for attachment in kept)]
        message = multipart("mixed", f"=_=mixed-{boundary}", parts)
    return message


def _text_part(subtype: str, mark: bytes) -> Sequence[bytes]:
    content_type = header("Content-Type", f"text/{subtype}", [quoted("charset", "utf-8")])
    encoding = header("Content-Transfer-Encoding", "quoted-printable")
    return [f"{content_type}\r\n{encoding}\r\n\r\n".encode(), mark]


def _once(wire: bytes, canonical: bytes) -> bytes:
    """The canonical form, held once where it is the same: attachments are large."""
    return wire if canonical == wire else canonical


def _quoted(part: str | bytes | Quoted) -> Quoted:
    if isinstance(part, bytes):
        return Quoted(part, spaces_folded(part))
    return part if isinstance(part, Quoted) else Quoted.encode(part)


def _listed(name: str, value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
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


def _folded_behind(name: str, words: str) -> bytes:
    before = f"{name}: "
    lines = textwrap.wrap(
        words, MAX_LINE - 1, initial_indent=before, break_long_words=False, break_on_hyphens=False
    )
    return "\r\n ".join(lines)[len(before) :].encode()


def _encoded_words(value: str, first: int = _ENCODED_WORD_BYTES) -> bytes:
    """Encode a text; the first of its words holds at most `first` octets of it, four or more."""
    data = value.encode("utf-8", "replace")
    words = []
    start, end = 0, first
    while start < len(data):
        while end < len(data) and data[end] & 0xC0 == 0x80:  # a character stays in one word (RFC 2047 §5)
            end -= 1
        words.append(b"=?utf-8?B?%b?=" % binascii.b2a_base64(data[start:end], newline=False))
        start, end = end, end + _ENCODED_WORD_BYTES
    return b"\r\n ".join(words)
