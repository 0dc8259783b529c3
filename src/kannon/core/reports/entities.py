"""A small reader of MIME (RFC 2045, RFC 2046) for messages from anyone: bounded, and never refusing.

Only the first `MAX_OCTETS` of a message are looked at, `MAX_DEPTH` levels deep, `MAX_PARTS` parts wide. What
is broken is read as it stands.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_OCTETS: Final = 400_000
MAX_HEADER: Final = 64_000
"""Octets of one header block."""
MAX_FIELDS: Final = 500
MAX_DEPTH: Final = 6
MAX_PARTS: Final = 40
MAX_TEXT: Final = 60_000
"""Characters of one part."""

ORIGINAL: Final = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "text/rfc822-header",
     "message/global-headers", "message/rfc822-headers", "message/partial"}
)  # fmt: skip
"""Types of what was sent, or its header."""

_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]{0,8}:(.*)", re.DOTALL)
_PARAMETER = re.compile(r";\s{0,80}([\w*-]{1,40})\s{0,8}=\s{0,8}(?:\"([^\"]{0,300})\"|([^\s;\"]{1,300}))")
_GUESSED = re.compile(rb"^--(\S[^\n]{0,80})\nContent-[A-Za-z-]{1,30}:", re.MULTILINE | re.IGNORECASE)
_WORD = re.compile(
    r"=\?([\w.:-]{1,40})(?:\*[\w-]{0,20})?\?([bq])\?([^?\s]{0,2000})\?=(?:\s{1,8}(?==\?))?", re.IGNORECASE
)
_CHARSET = re.compile(
    r"(utf-?8|utf-?16(le|be)?|(unicode-1-1-)?utf-7|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?1|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|iso-2022-(jp|kr)"
    r"|shift_?jis|sjis|euc-?(jp|kr)|gb2312|gbk|gb18030|big5|ks_c_5601-1987)"
)
_TAG = re.compile(
    r"<(?:style|script)\b[^<]{0,20000}</|<(?:br|/p|/div|/tr|/li|/h\d)\b[^<>]{0,200}>|<[^<>]{0,2000}>",
    re.IGNORECASE,
)
_SOFT_BREAK = re.compile(r"(?<=[^\n]{70})=\n")  # of quoted-printable that is not declared
_ENTITY: Final = {
    "&nbsp;": " ",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&#39;": "'",
    "&#64;": "@",
    "&amp;": "&",
}


@dataclass(frozen=True, slots=True)
class Headers:
    """A header block: fields in their order, unfolded."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """The first field of that name (in lower case), with encoded words (RFC 2047) decoded; or nothing."""
        return next((decode_words(value) for field, value in self.fields if field == name), "")

    def all(self, name: str) -> list[str]:
        """All fields of that name."""
        return [decode_words(value) for field, value in self.fields if field == name]


@dataclass(frozen=True, slots=True)
class Part:
    """A part without parts: its type in lower case, its header, and its text, decoded."""

    content_type: str
    headers: Headers
    text: str

    @property
    def is_original(self) -> bool:
        """Whether it is what was sent, or its header."""
        return self.content_type in ORIGINAL


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its header, and its parts in their order, however deep."""

    headers: Headers
    content_type: str
    parameters: dict[str, str]
    parts: tuple[Part, ...]


def read_message(raw: bytes) -> Message:
    """Read a message, or as much of it as there is."""
    head, body = _split(_with_bare_newlines(raw[:MAX_OCTETS]))
    headers = read_headers(head)
    content_type, parameters = type_of(headers)
    return Message(headers, content_type, parameters, tuple(_parts(headers, body)))


def read_headers(text: str) -> Headers:
    """The fields of a header block; lines that are none are left out."""
    fields: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line[:1] in (" ", "\t"):
            if fields:
                fields[-1][1].append(line)
        elif found := _FIELD.match(line):
            if len(fields) == MAX_FIELDS:
                break
            fields.append((found[1].lower(), [found[2]]))
    return Headers(tuple((name, "".join(lines).strip()) for name, lines in fields))


def type_of(headers: Headers) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters (RFC 2045 §5.1)."""
    value = next((value for name, value in headers.fields if name == "content-type"), "")[:2_000]
    found: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(value):
        found.setdefault(name.lower().rstrip("*"), quoted or bare)
    return value.partition(";")[0].strip().lower() or "text/plain", found


def decode_words(value: str) -> str:
    """A field's value with its encoded words decoded (RFC 2047)."""
    if "=?" not in value:
        return value
    return _WORD.sub(_decoded_word, value[:8_000])


def decode_text(octets: bytes, charset: str = "") -> str:
    """Text from octets in a charset that is given, or guessed from them; what cannot be read is replaced."""
    name = charset.lower()
    if b"\x1b$" in octets[:20_000]:
        return octets.decode("iso-2022-jp", "replace")
    if _CHARSET.fullmatch(name) and name not in ("us-ascii", "ascii"):
        try:
            return octets.decode(name, "replace")
        except LookupError:
            pass
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def text_of_html(html: str) -> str:
    """What a page says, about."""
    text = _TAG.sub(
        lambda tag: "\n" if tag[0][1:3].lower() in ("br", "/p", "/d", "/t", "/l", "/h") else " ", html
    )
    for entity, sign in _ENTITY.items():
        text = text.replace(entity, sign)
    return text


def _with_bare_newlines(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b"\n")


def _split(octets: bytes) -> tuple[str, bytes]:
    """Header block and body."""
    if octets.startswith(b"\n"):
        return "", octets[1:]
    head, _, body = octets.partition(b"\n\n")
    return decode_text(head[:MAX_HEADER]), body


def _parts(headers: Headers, body: bytes) -> Iterator[Part]:
    """The parts without parts, by a stack of what is still to be taken apart."""
    waiting: list[tuple[Headers, bytes, int]] = [(headers, body, 0)]
    taken = 0
    while waiting and taken < MAX_PARTS:
        headers, body, depth = waiting.pop()
        content_type, parameters = type_of(headers)
        inner = _inner(content_type, parameters, body) if depth < MAX_DEPTH else []
        if inner:
            room = MAX_PARTS - taken
            split = [_split(part) for part in inner[:room]]
            waiting += [(read_headers(head), rest, depth + 1) for head, rest in reversed(split)]
            continue
        taken += 1
        if content_type.startswith("multipart/"):
            content_type = "text/plain"  # it says that it has parts, and has none
        yield Part(content_type, headers, _text(headers, content_type, parameters, body))


def _inner(content_type: str, parameters: dict[str, str], body: bytes) -> list[bytes]:
    """The parts of a multipart body, or of one that looks like it and does not say so."""
    if content_type in ORIGINAL:
        return []
    boundary = parameters.get("boundary", "").strip().encode("utf-8", "replace")
    if content_type.startswith("multipart/") and boundary:
        parts = _cut(body, boundary)
        if len(parts) > 1:
            return [b"\n" + parts[0], *parts[1:]] if _says_more(parts[0]) else parts[1:]
    if content_type.startswith(("multipart/", "text/plain")) and (guess := _GUESSED.search(body, 0, 20_000)):
        parts = _cut(body, guess[1].strip())
        return [b"\n" + parts[0], *parts[1:]]
    return []


def _says_more(preamble: bytes) -> bool:
    """Whether what stands before the first part is more than the usual remark for readers without MIME."""
    return len(preamble) > 400


def _cut(body: bytes, boundary: bytes) -> list[bytes]:
    """What is between delimiter lines (RFC 2046 §5.1.1), the preamble first; indented ones count, too."""
    delimiter = re.compile(rb"^[ \t]?--" + re.escape(boundary) + rb"(--)?[ \t]{0,80}$", re.MULTILINE)
    parts, at = [], 0
    for found in delimiter.finditer(body):
        parts.append(body[at : found.start()])
        at = found.end() + 1
        if found[1] or len(parts) > MAX_PARTS:
            break
    else:
        parts.append(body[at:])
    return parts


def _text(headers: Headers, content_type: str, parameters: dict[str, str], body: bytes) -> str:
    if not content_type.startswith(
        ("text/", "message/", "multipart/", "application/json", "application/octet-stream")
    ):
        return ""
    octets = body[: 4 * MAX_TEXT]
    encoding = headers.get("content-transfer-encoding").lower().strip()
    if encoding == "base64":
        octets = _from_base64(octets)
    elif encoding == "quoted-printable":
        octets = binascii.a2b_qp(octets)
    text = decode_text(octets, parameters.get("charset", ""))[:MAX_TEXT]
    if content_type == "text/html":
        return text_of_html(text)
    return _SOFT_BREAK.sub("", text.replace("\r\n", "\n"))


def _from_base64(octets: bytes) -> bytes:
    """What base64 stands for, or the octets themselves where it is none."""
    signs = re.sub(rb"[^A-Za-z0-9+/]", b"", octets)
    try:
        return binascii.a2b_base64(signs[: len(signs) // 4 * 4])
    except binascii.Error:
        return octets


def _decoded_word(word: re.Match[str]) -> str:
    octets = word[3].encode("utf-8", "replace")
    if word[2] in "bB":
        return decode_text(_from_base64(octets), word[1])
    return decode_text(binascii.a2b_qp(octets, header=True), word[1])
