"""HTML cut into tokens, in time proportional to its length, whatever it holds.

Tags are found as the HTML standard has it (§13.2.5), but a placeholder is never cut through: `<a {{ b }}>`
has an attribute of that name.
"""

import html
import re
from collections.abc import Iterator
from enum import Enum
from html.entities import html5
from typing import NamedTuple

from kannon.core.patterns import PLACEHOLDER

_P = PLACEHOLDER.pattern
_SPACES = r"[\t\n\f\r ]*+"
_COMMENT = r"<!--(?:-?>|.*?(?:--!?>|\Z))"
_CONDITIONAL = r"<!--\[if[^\]>]{0,200}\]>"  # Outlook reads what follows as HTML
_DECLARATION = rf"<[!?][^>]*+>?|</(?!{_P}|[a-z])[^>]*+>?"
_NAME = rf"(?:{_P}|[^\t\n\f\r />])(?:{_P}|[^\t\n\f\r />=])*+"
_BARE = rf"(?:{_P}|[^\t\n\f\r >])++"
_VALUE = rf"\"[^\"]*+\"?|'[^']*+'?|{_BARE}"
_REST = rf"(?:[\t\n\f\r /]*+{_NAME}(?:{_SPACES}={_SPACES}(?:{_VALUE})?)?)*+[\t\n\f\r /]*+>?"
_TAG = rf"<(?P<end>/?)(?P<tag>(?:{_P}|[a-z])(?:{_P}|[^\t\n\f\r />])*+){_REST}"
_FLAGS = re.DOTALL | re.IGNORECASE | re.ASCII  # `ſ` and the sign of Kelvin begin no tag
_MARKUP = re.compile(rf"{_COMMENT}|{_DECLARATION}|{_TAG}", _FLAGS)
_MARKUP_FOR_OUTLOOK = re.compile(rf"{_CONDITIONAL}|{_COMMENT}|{_DECLARATION}|{_TAG}", _FLAGS)
_ATTRIBUTE = re.compile(
    rf"[\t\n\f\r /]*+(?P<name>{_NAME})(?:{_SPACES}={_SPACES}"
    rf"(?:\"(?P<double>[^\"]*+)\"?|'(?P<single>[^']*+)'?|(?P<bare>{_BARE}))?)?"
)
_RAW_ENDS = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", _FLAGS)
    for name in ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")
}
_REFERENCE = re.compile(r"&(?:#(?:[0-9]++|[xX][0-9a-fA-F]++);?|(?P<name>[a-zA-Z][a-zA-Z0-9]*+(?:;|(?!=))))")
_LONG_REFERENCE = re.compile(r"&#(?:[0-9]{8,}|x[0-9a-f]{8,});?", re.IGNORECASE)


class Kind(Enum):
    """What a token is."""

    TEXT = 1
    COMMENT = 2  # or a declaration; what begins and ends a conditional comment
    START = 3
    END = 4
    RAW = 5  # what stands in a `<script>` or its like, where no tag begins but its end


class Token(NamedTuple):
    """A part of the source; the next begins where it ends.

    Attributes:
        tag: of a tag or raw text, in lower case.
        name_end: of a tag, where its name ends and attributes may begin.
    """

    kind: Kind
    start: int
    end: int
    tag: str = ""
    name_end: int = 0


class Attribute(NamedTuple):
    """An attribute of a tag.

    Attributes:
        name: in lower case.
        start: where its value begins, after the quotation mark.
        end: where its value ends; there is none if this is where it begins.
        is_bare: whether the value stands without quotation marks.
        behind: what is behind the attribute begins here.
    """

    name: str
    name_start: int
    name_end: int
    start: int
    end: int
    is_bare: bool
    behind: int


def tokens(
    source: str, start: int, end: int, *, for_outlook: bool = False, with_raw_text: bool = True
) -> Iterator[Token]:
    """Cut HTML into tokens.

    Args:
        source: the HTML, however broken.
        start: where in it to begin.
        end: where to end.
        for_outlook: read what stands in a conditional comment, `<!--[if mso]>`, as HTML.
        with_raw_text: take what stands in a `<script>`, `<style>` or their like for one token without tags.
    """
    search = (_MARKUP_FOR_OUTLOOK if for_outlook else _MARKUP).search
    at = start
    while markup := search(source, at, end):
        if at < markup.start():
            yield Token(Kind.TEXT, at, markup.start())
        at = markup.end()
        if markup["tag"] is None:
            yield Token(Kind.COMMENT, markup.start(), at)
            continue
        tag = markup["tag"].lower()
        yield Token(Kind.END if markup["end"] else Kind.START, markup.start(), at, tag, markup.end("tag"))
        if with_raw_text and not markup["end"] and tag in _RAW_ENDS:
            close = _RAW_ENDS[tag].search(source, at, end)
            raw_end = close.start() if close else end
            yield Token(Kind.RAW, at, raw_end, tag)
            at = raw_end
    if at < end:
        yield Token(Kind.TEXT, at, end)


def attributes(source: str, token: Token) -> Iterator[Attribute]:
    """The attributes of a tag that `tokens` found in the source."""
    for found in _ATTRIBUTE.finditer(source, token.name_end, token.end):
        group = found.lastgroup or "name"
        start, end = found.span(group) if group != "name" else (found.end(), found.end())
        name_start, name_end = found.span("name")
        is_bare = group == "bare"
        yield Attribute(found["name"].lower(), name_start, name_end, start, end, is_bare, found.end())


def decoded(text: str) -> str:
    """Text, or an attribute's value, with character references decoded and placeholders kept as written."""
    if "&" not in text:
        return text
    pieces: list[str] = []
    at = 0
    for placeholder in PLACEHOLDER.finditer(text):
        pieces += (_unescaped(text[at : placeholder.start()]), placeholder[0])
        at = placeholder.end()
    pieces.append(_unescaped(text[at:]))
    return "".join(pieces)


def decoded_value(value: str) -> str:
    """An attribute's value as a browser decodes it (HTML §13.2.5.73).

    Other than in text, a name without its semicolon is no reference before `=`, a letter or a digit: the
    `&copy=2` of a URL is a parameter.
    """
    if "&" not in value:
        return value
    return _REFERENCE.sub(_referred, value)


def _referred(reference: re.Match[str]) -> str:
    name = reference["name"]
    return _unescaped(reference[0]) if name is None else html5.get(name, reference[0])


def _unescaped(text: str) -> str:
    # Beyond Unicode anyway; Python refuses to read numbers of thousands of digits.
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text))
