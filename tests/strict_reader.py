"""A reader of messages that takes nothing but what the RFCs allow to be sent; written apart from `core/`."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

MAX_LINE = 998  # octets, RFC 5322 §2.1.1
MAX_WORD = 75  # characters, RFC 2047 §2
MAX_ENCODED_LINE = 76  # RFC 2045 §6.7 and §6.8

_HEADER = re.compile(rb"([!-9;-~]+): ?((?:[^\r\n]|\r\n[ \t])*)")
_WORD = re.compile(rb"=\?utf-8\?([bq])\?([!->@-~]+)\?=", re.IGNORECASE)
_LIKE_A_WORD = re.compile(rb"=\?[^\s?]+\?[^\s?]\?")
_QUOTED_LINE = re.compile(rb"(?:[!-<>-~ \t]|=[0-9A-F]{2})*=?")
_PARAMETER = re.compile(
    r"""; ?([a-z0-9-]+)((?:\*[0-9]+)?\*?)=(?:"((?:[^"\\]|\\.)*)"|([^\s"(),/:;<=>?@\[\\\]]+))"""
)
_EXTENDED = re.compile(r"(?:[a-z0-9-]+'[a-z-]*')?(?:[A-Za-z0-9!#$&+.^_`{|}~-]|%[0-9A-F]{2})*", re.IGNORECASE)


class Illegal(AssertionError):
    """The octets are no message that may be sent."""


@dataclass(frozen=True)
class Part:
    """A message or a part of one: its headers by their names in lower case, and what it holds."""

    headers: Mapping[str, bytes]
    kind: str
    parameters: Mapping[str, str]
    content: bytes
    parts: Sequence["Part"]

    def text(self) -> str:
        """Its content, one `\\n` at the end of each line."""
        return re.sub("\r\n?", "\n", self.content.decode(self.parameters["charset"]))

    def walk(self) -> "list[Part]":
        """It, and all parts in it."""
        return [self, *(found for part in self.parts for found in part.walk())]


def read(octets: bytes, *, eight_bit: bool = False) -> Part:
    """Read a whole message.

    Args:
        octets: as on the wire, before dots are stuffed.
        eight_bit: SMTPUTF8 and 8BITMIME will be declared (RFC 6531 §3.1, RFC 6152).

    Raises:
        Illegal: the message may not be sent.
    """
    _demand(re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets) is None, "a CR or LF alone, or a NUL")
    _demand(octets.endswith(b"\r\n"), "no line end last")
    _demand(max(map(len, octets.split(b"\r\n"))) <= MAX_LINE, "a line is too long")
    _demand(eight_bit or octets.isascii(), "eight bits, undeclared")
    message = _part(octets)
    names = [name.lower() for name, _ in headers_of(octets)]
    for name in ("from", "to", "subject", "date", "message-id", "mime-version", "content-type"):
        _demand(names.count(name) == 1, f"{names.count(name)} times {name}")
    return message


def headers_of(octets: bytes) -> list[tuple[str, bytes]]:
    """The headers of a message or part, in order, folded as they are."""
    head = b"" if octets.startswith(b"\r\n") else octets.partition(b"\r\n\r\n")[0]
    found = []
    for line in re.split(rb"\r\n(?![ \t])", head) if head else []:
        header = _HEADER.fullmatch(line)
        _demand(header, f"no header: {line!r}")
        assert header
        folds = header[2].split(b"\r\n")
        _demand(len(folds) == 1 or all(map(bytes.strip, folds)), f"a line of nothing in {line!r}")
        found.append((header[1].decode(), header[2]))
    return found


def unstructured(value: bytes) -> str:
    """A header's text with its encoded words read (RFC 2047 §6.2)."""
    words = re.split(rb"((?:\r\n)?[ \t]+)", value)
    shown, encoded_before = "", False
    for at in range(0, len(words), 2):
        text, is_encoded = _word(words[at])
        if at and not (is_encoded and encoded_before):
            shown += words[at - 1].replace(b"\r\n", b"").decode()
        shown, encoded_before = shown + text, is_encoded
    return shown


def display_name(value: bytes) -> tuple[str, str]:
    """The name and the address in a From (RFC 5322 §3.4)."""
    found = re.fullmatch(rb"(.*?)(?:\r\n)? <([^<>\r\n]+)>", value, re.DOTALL)
    if not found:
        return "", value.decode()
    name = found[1]
    if not name.startswith(b'"'):
        return unstructured(name), found[2].decode()
    _demand(re.fullmatch(rb'"(?:[^"\\]|\\.)*"', name, re.DOTALL), "an open quotation mark")
    _demand(b"=?" not in name, "an encoded word in quotation marks")  # RFC 2047 §5
    return re.sub(r"\\(.)", r"\1", name[1:-1].replace(b"\r\n", b"").decode()), found[2].decode()


def parameters(value: bytes) -> tuple[str, dict[str, str]]:
    """The value of a MIME header and its parameters, extended ones too (RFC 2045 §5.1, RFC 2231)."""
    first, semicolon, rest = value.replace(b"\r\n", b"").decode("ascii").partition(";")
    pieces: dict[str, dict[int, tuple[bytes, bool]]] = {}
    at, rest = 0, semicolon + rest
    while at < len(rest):
        found = _PARAMETER.match(rest, at)
        _demand(found, f"no parameter: {rest[at:]!r}")
        assert found
        name, mark, quoted, token = found.groups()
        section = int(mark.strip("*") or 0)
        _demand(section not in pieces.setdefault(name, {}), f"{name} twice")
        is_extended = mark.endswith("*")
        _demand(not is_extended or _EXTENDED.fullmatch(token or '"'), f"no extended value: {found[0]!r}")
        _demand("=?" not in (quoted or ""), "an encoded word in quotation marks")  # RFC 2047 §5
        octets = (token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)).encode()
        pieces[name][section] = (octets, is_extended)
        at = found.end()
    return first, {name: _joined(sections) for name, sections in pieces.items()}


def _joined(sections: Mapping[int, tuple[bytes, bool]]) -> str:
    _demand(sorted(sections) == list(range(len(sections))), "a section is missing")
    first, is_extended = sections[0]
    if not is_extended:
        _demand(len(sections) == 1, "sections that are not extended")
        return first.decode()
    charset, language, first = first.split(b"'", 2)
    _demand((charset, language) == (b"utf-8", b""), "another charset")
    octets = [first, *(sections[number][0] for number in range(1, len(sections)))]
    return "".join(unquote_to_bytes(section).decode() for section in octets)  # each section by itself


def _part(octets: bytes) -> Part:
    headers = {name.lower(): value for name, value in headers_of(octets)}
    _demand(len(headers) == len(headers_of(octets)), "a header twice")
    content = octets[2:] if octets.startswith(b"\r\n") else octets.partition(b"\r\n\r\n")[2]
    for name, value in headers.items():
        _demand_words(name, value)
    kind, given = parameters(headers["content-type"])
    encoding = headers.get("content-transfer-encoding", b"7bit").decode().lower()
    if kind.startswith("multipart/"):
        _demand(encoding == "7bit" and content.isascii(), "parts encoded as one")
        return Part(headers, kind, given, b"", [_part(part) for part in _divided(content, given["boundary"])])
    decode = {"quoted-printable": _quoted_printable, "base64": _base64}[encoding]
    return Part(headers, kind, given, decode(content), ())


def _divided(content: bytes, boundary: str) -> list[bytes]:
    _demand(re.fullmatch(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", boundary), "the boundary")
    delimiter = b"\r\n--" + boundary.encode()
    first, *parts, last = (b"\r\n" + content).split(delimiter)
    _demand(first == b"", "text before the parts")
    _demand(last in (b"--", b"--\r\n"), "no end, or text behind it")
    _demand(all(part.startswith(b"\r\n") for part in parts), "a line that begins with the boundary")
    return [part[2:] for part in parts]


def _quoted_printable(content: bytes) -> bytes:
    for line in content.split(b"\r\n"):
        _demand(len(line) <= MAX_ENCODED_LINE, f"an encoded line of {len(line)}")
        _demand(_QUOTED_LINE.fullmatch(line), f"not quoted-printable: {line!r}")
        _demand(not line.endswith((b" ", b"\t")), "white space at the end of a line")
    _demand(not content.endswith(b"="), "a line end that is undone and missing")
    return binascii.a2b_qp(content)


def _base64(content: bytes) -> bytes:
    lines = content.split(b"\r\n")
    _demand(all(0 < len(line) <= MAX_ENCODED_LINE for line in lines) or lines == [b""], "lines of base64")
    return base64.b64decode(b"".join(lines), validate=True)


def _demand_words(name: str, value: bytes) -> None:
    for line in value.split(b"\r\n"):
        for word in _LIKE_A_WORD.finditer(line):
            found = _WORD.match(line, word.start())
            _demand(found, f"{name}: not an encoded word in {line!r}")
            assert found
            _demand(len(found[0]) <= MAX_WORD, f"{name}: an encoded word of {len(found[0])}")
            _demand(len(line) <= MAX_ENCODED_LINE, f"{name}: a line of {len(line)} with an encoded word")


def _word(word: bytes) -> tuple[str, bool]:
    found = _WORD.fullmatch(word)
    if not found:
        return word.decode(), False
    if found[1] in b"bB":
        return base64.b64decode(found[2], validate=True).decode(), True
    return binascii.a2b_qp(found[2], header=True).decode(), True


def _demand(held: object, otherwise: str) -> None:
    if not held:
        raise Illegal(otherwise)
