"""Attachments: files that every message of a Batch carries, and images that its HTML shows."""

import base64
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kannon.core.body_parts import Pieces, extended, header, quoted
from kannon.core.patterns import UnsafeHeader

OCTETS: Final = "application/octet-stream"
MAX_FILENAME: Final = 255  # octets; what file systems take

_OCTETS_OF_A_PIECE: Final = 57 * 20_000  # 57 octets make a line of base64
_SHORT: Final = 60  # characters of a name that stands on one line
_NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"  # RFC 6838 §4.2
_VALUE = r"\"[ !#-\[\]-~]{0,50}\"|[!#$%&'*+.0-9A-Z^_`a-z{|}~-]{1,50}"
_PARAMETER = rf"[ \t]*;[ \t]*((?!(?:name|boundary)=)[a-z0-9-]{{1,20}})=({_VALUE})"
_FLAGS = re.IGNORECASE | re.ASCII  # beyond ASCII two letters count as one with `s` and `k`
_PARAMETERS = re.compile(_PARAMETER, _FLAGS)
_CONTENT_TYPE = re.compile(rf"({_NAME}/{_NAME})((?:{_PARAMETER}){{0,8}})", _FLAGS)
_NEVER_IN_BASE64 = ("multipart/", "message/")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._~!$&'*+=@-]{1,60}")
# The last two are the overrides of direction, by which `exe.fdp` is shown as `pdf.exe` and the reverse.
_NOT_IN_A_FILENAME = re.compile("[/\\\\\x00-\x1f\x7f-\x9f\u202d\u202e]")
_PLAIN = r"[!#-;=?-\[\]-~]"  # no angle brackets: some readers take them off
_PLAIN_FILENAME = re.compile(rf"(?!.{{{_SHORT + 1}}})(?!.*=\?){_PLAIN}+(?: {_PLAIN}+)*")
_NOT_IN_A_FALLBACK = re.compile(r"[^A-Za-z0-9._ -]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to be sent; one that exists can be.

    Attributes:
        filename: how the receiver is to call it, in any script; the name alone, without folders.
        content_type: such as `image/png` or `text/csv; charset=utf-8`; empty means any octets. A message or
            what is made of parts must not be in base64 (RFC 2046 §5.2.1): it is sent as any octets, too.
        content: its octets, which arrive as they are.
        content_id: by what the HTML shows it, `<img src="cid:…">` (RFC 2392); empty for one to be kept.

    Raises:
        UnsafeHeader: filename, content_type or content_id may not stand in a header; the error names it.
    """

    filename: str
    content_type: str
    content: bytes = field(repr=False)
    content_id: str = ""

    def __post_init__(self) -> None:
        if not _is_filename(self.filename):
            raise UnsafeHeader(
                "filename",
                f"must be a file's name of 1 to {MAX_FILENAME} octets, without slashes, backslashes, "
                "control characters and overrides of its direction",
            )
        if self.content_type and not _CONTENT_TYPE.fullmatch(self.content_type):
            raise UnsafeHeader(
                "content_type", "must be a media type such as image/png, or empty; its name is the file's"
            )
        if self.content_id and not _CONTENT_ID.fullmatch(self.content_id):
            raise UnsafeHeader(
                "content_id", "takes up to 60 letters, digits and ._~!$&'*+=@-, as `cid:` URLs do"
            )

    @property
    def is_inline(self) -> bool:
        """Whether the HTML shows it."""
        return self.content_id != ""

    def as_part(self) -> Pieces:
        """The attachment as a body part: its headers and an empty line, base64 without a line end last."""
        kind, parameters = _media_type(self.content_type)
        name, filename = _names(self.filename)
        headers = [
            header("Content-Type", kind, [*parameters, name]),
            header("Content-Disposition", "inline" if self.is_inline else "attachment", filename),
            header("Content-Transfer-Encoding", "base64"),
        ]
        if self.is_inline:
            headers.append(header("Content-ID", f"<{self.content_id}>"))
        return ["\r\n".join((*headers, "", "")).encode(), *_in_base64(self.content)]


def _in_base64(content: bytes) -> Iterator[bytes]:
    """Octets in base64, in lines of 76 characters (RFC 2045 §6.8), many of them in a piece."""
    view = memoryview(content)
    for start in range(0, len(view), _OCTETS_OF_A_PIECE):
        line_end = b"\r\n" if start else b""
        piece = base64.encodebytes(view[start : start + _OCTETS_OF_A_PIECE])
        yield line_end + piece.removesuffix(b"\n").replace(b"\n", b"\r\n")


def _is_filename(name: str) -> bool:
    return (
        len(name.encode("utf-8", "replace")) <= MAX_FILENAME
        and name.strip(". ") != ""
        and _NOT_IN_A_FILENAME.search(name) is None
    )


def _media_type(content_type: str) -> tuple[str, list[str]]:
    found = _CONTENT_TYPE.fullmatch(content_type)
    if not found or found[1].lower().startswith(_NEVER_IN_BASE64):
        return OCTETS, []
    return found[1], [quoted(name, value.strip('"')) for name, value in _PARAMETERS.findall(found[2])]


def _names(filename: str) -> tuple[str, list[str]]:
    """The parameters that tell a file's name: `name` for readers that know nothing else, and `filename`."""
    if _PLAIN_FILENAME.fullmatch(filename):
        return quoted("name", filename), [quoted("filename", filename)]
    return quoted("name", _fallback(filename)), extended("filename", filename)


def _fallback(filename: str) -> str:
    """A name in ASCII that is like it and ends like it."""
    letters = (one for one in unicodedata.normalize("NFKD", filename) if not unicodedata.combining(one))
    return _NOT_IN_A_FALLBACK.sub("_", "".join(letters))[-_SHORT:].strip(". ") or "attachment"
