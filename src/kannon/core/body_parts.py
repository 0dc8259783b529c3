"""Body parts as MIME writes them: their headers, and several in one (RFC 2045, RFC 2046)."""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

Pieces = Sequence[bytes]
"""What is written, in pieces: attachments are large, and joined once."""
MAX_LINE: Final = 76  # RFC 2045 §6.7 for bodies, RFC 2047 §2 for headers; RFC 5322 §2.1.1 would take 78

# Characters of a parameter's section: ` filename*10*=utf-8''` fits before them, `;` behind.
_SECTION: Final = 48


def header(name: str, value: str, parameters: Iterable[str] = ()) -> str:
    """Write a part's header, without a line end last; it is folded before parameters that would not fit.

    Args:
        name: such as `Content-Type`.
        value: ASCII without spaces. It stands behind the name, however long it is: not every reader looks
            for it on the next line.
        parameters: as `quoted` and `extended` write them.
    """
    words = [value, *parameters]
    first, *others = [*(f"{word};" for word in words[:-1]), words[-1]]
    lines = [f"{name}: {first}"]
    for word in others:
        if len(lines[-1]) + 1 + len(word) <= MAX_LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return "\r\n".join(lines)


def quoted(name: str, value: str) -> str:
    """Write a parameter whose value is ASCII and holds no quotation mark, backslash or control character."""
    return f'{name}="{value}"'


def extended(name: str, value: str) -> list[str]:
    """Write a parameter of any value: percent-encoded UTF-8, in sections if it is long (RFC 2231 §3, §4).

    No character is divided between sections, for some readers decode each by itself.
    """
    sections = [""]
    for character in value:
        encoded = quote(character, safe="", errors="replace")
        if len(sections[-1]) + len(encoded) > _SECTION:
            sections.append("")
        sections[-1] += encoded
    sections[0] = f"utf-8''{sections[0]}"
    if len(sections) == 1:
        return [f"{name}*={sections[0]}"]
    return [f"{name}*{number}*={section}" for number, section in enumerate(sections)]


def multipart(
    kind: str, boundary: str, parts: Sequence[Pieces], parameters: Iterable[str] = ()
) -> list[bytes]:
    """Write a part that is made of parts (RFC 2046 §5.1).

    Args:
        kind: the subtype, such as `mixed`.
        boundary: what no line of a part begins with after two hyphens.
        parts: their headers with an empty line as first piece, their bodies as the others; without the line
            end before the boundary.
        parameters: of its Content-Type, besides the boundary.

    Returns:
        The same form as that of `parts`.
    """
    head = header("Content-Type", f"multipart/{kind}", (*parameters, quoted("boundary", boundary)))
    delimiter = b"--" + boundary.encode()
    divided = (piece for part in parts for piece in (delimiter, b"\r\n", *part, b"\r\n"))
    return [f"{head}\r\n\r\n".encode(), *divided, delimiter, b"--"]
