"""Fields: texts with `{{ name }}` placeholders, compiled once and filled for each Recipient.

A placeholder's name is any text without braces, quotes and angle brackets; spaces around it do not count.
A placeholder that nothing fills stays as written, and a value is never searched for placeholders.
"""

import html
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from kannon.core.errors import BadInput

PLACEHOLDER: Final = re.compile(r"\{\{([^{}<>\"']*+)\}\}")
URL_ATTRIBUTES: Final = frozenset(
    {"href", "src", "action", "background", "cite", "formaction", "poster", "data"}
)

_P = PLACEHOLDER.pattern
_SPACES = r"[\t\n\f\r ]*+"
_COMMENT = r"<!--(?:-?>|.*?(?:--!?>|\Z))"
_CONDITIONAL = r"<!--\[if[^\]>]{0,200}\]>"  # Outlook reads what follows as HTML, so we do
_DECLARATION = rf"<[!?][^>]*+>?|</(?!{_P}|[a-z])[^>]*+>?"
_TAG = rf"<(?P<end>/?)(?P<tag>(?:{_P}|[a-z])(?:{_P}|[^\t\n\f\r />])*+)"
_MARKUP = re.compile(
    rf"(?P<inert>{_CONDITIONAL}|{_COMMENT}|{_DECLARATION})|{_TAG}", re.DOTALL | re.IGNORECASE
)
_ATTRIBUTE = re.compile(
    rf"(?P<before>[\t\n\f\r /]*+)(?P<name>(?:{_P}|[^\t\n\f\r />])(?:{_P}|[^\t\n\f\r />=])*+)"
    rf"(?:(?P<equals>{_SPACES}={_SPACES})"
    rf"(?:\"(?P<double>[^\"]*+)\"?|'(?P<single>[^']*+)'?|(?P<bare>(?:{_P}|[^\t\n\f\r >])++))?)?"
)
_TAG_CLOSE = re.compile(r"[\t\n\f\r /]*+>?")
_RAW_TEXT = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")
}
_NOT_A_TOKEN = re.compile(r"[^0-9A-Za-z_.:-]")
_SAFE_URL = re.compile(r"(?:https?://[^\s/?#\\]|mailto:[^\s])[^\x00-\x1f\x7f]*", re.IGNORECASE)
_HEADER_BREAK = re.compile(r"[\r\n\0]")

_Fill = Callable[[str, str], str]  # a field's name and value to what is written


class UnsafeField(BadInput):
    """A field's value may not stand where the template puts it."""

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(f"the field {field} {allowed}")
        self.field = field


class UnsafeUrl(UnsafeField):
    """A field that is the whole of a link or a source, and neither an http(s) URL nor a mailto."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "stands for a whole URL and must be an http, https or mailto one")


class UnsafeHeader(UnsafeField):
    """A field in a header whose value holds CR, LF or NUL (RFC 5322 §2.2)."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "stands in a header and must not hold CR, LF or NUL")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled text: its pieces in order, and which of them are placeholders, of what name, filled how."""

    pieces: tuple[str, ...]
    slots: tuple[tuple[int, str, _Fill], ...]

    @property
    def is_constant(self) -> bool:
        """Whether the text holds no placeholder, so that every Recipient gets the same."""
        return not self.slots

    @property
    def names(self) -> frozenset[str]:
        """The names of the fields it asks for."""
        return frozenset(name for _, name, _ in self.slots)

    def render(self, fields: Mapping[str, str]) -> str:
        """Fill the placeholders that `fields` has values for, each as the place where it stands asks for.

        Raises:
            UnsafeUrl: a value that is to be a whole URL is none that we let through.
            UnsafeHeader: a value for a header holds CR, LF or NUL.
        """
        pieces = list(self.pieces)
        for index, name, fill in self.slots:
            value = fields.get(name)
            if value is not None:
                pieces[index] = fill(name, value)
        return "".join(pieces)


def merge_fields(
    email: str, global_fields: Mapping[str, str], recipient_fields: Mapping[str, str]
) -> dict[str, str]:
    """One Recipient's fields: the address as `email`, over it the call's, over these the Recipient's own."""
    return {"email": email, **global_fields, **recipient_fields}


def header_safe(value: str) -> bool:
    """Whether a value may go into a header: it holds no CR, LF or NUL (RFC 5322 §2.2)."""
    return _HEADER_BREAK.search(value) is None


def compile_text(source: str) -> Pattern:
    """Compile plain text; values are written as they are."""
    parts = _Parts()
    parts.add(source, _as_it_is)
    return parts.pattern()


def compile_header(source: str) -> Pattern:
    """Compile a subject; rendering raises `UnsafeHeader` for a value with CR, LF or NUL."""
    parts = _Parts()
    parts.add(source, _in_header)
    return parts.pattern()


def compile_html(source: str, *, raw_fields: Collection[str] = ()) -> Pattern:
    """Compile HTML; values are escaped for where they stand, and cannot leave it.

    In text and attributes they are HTML-escaped, within a URL percent-encoded. A placeholder that is the
    whole value of a URL attribute takes an http, https or mailto URL; rendering raises `UnsafeUrl` for
    anything else. An attribute's value with a placeholder and no quotes is given quotes.

    Args:
        source: the HTML.
        raw_fields: names of fields whose values are HTML already, and are written as they are, everywhere.
    """
    parts = _Parts(raw_fields)
    at = 0
    while markup := _MARKUP.search(source, at):
        parts.add(source[at : markup.start()], _in_text)
        parts.add(markup[0], _in_text if markup["inert"] else _in_tag)
        at = markup.end()
        if not markup["inert"]:
            at = _add_attributes(parts, source, at)
            if not markup["end"]:
                at = _add_raw_text(parts, source, at, markup["tag"].lower())
    parts.add(source[at:], _in_text)
    return parts.pattern()


class _Parts:
    """A Pattern in the making."""

    def __init__(self, raw_fields: Collection[str] = ()) -> None:
        self._raw = frozenset(raw_fields)
        self._pieces: list[str] = []
        self._slots: list[tuple[int, str, _Fill]] = []

    def add(self, text: str, fill: _Fill) -> None:
        at = 0
        for placeholder in PLACEHOLDER.finditer(text):
            if name := placeholder[1].strip():
                self._pieces += (text[at : placeholder.start()], placeholder[0])
                self._slots.append((len(self._pieces) - 1, name, _as_it_is if name in self._raw else fill))
                at = placeholder.end()
        self._pieces.append(text[at:])

    def pattern(self) -> Pattern:
        return Pattern(tuple(self._pieces), tuple(self._slots))


def _add_attributes(parts: _Parts, source: str, at: int) -> int:
    """Add the rest of a tag, whose name ends at `at`; gives back where the tag ends."""
    while attribute := _ATTRIBUTE.match(source, at):
        parts.add(attribute["before"] + attribute["name"] + (attribute["equals"] or ""), _in_tag)
        if attribute["equals"]:
            _add_value(parts, attribute)
        at = attribute.end()
    close = _TAG_CLOSE.match(source, at)
    end = close.end() if close else at
    parts.add(source[at:end], _in_tag)
    return end


def _add_value(parts: _Parts, attribute: re.Match[str]) -> None:
    value = attribute["double"] or attribute["single"] or attribute["bare"] or ""
    written = attribute[0][attribute.end("equals") - attribute.start() :]
    fill = _fill_of(attribute["name"], value)
    if attribute["bare"] and PLACEHOLDER.search(value):
        written = '"' + value.replace('"', "&quot;") + '"'
    parts.add(written, fill)


def _fill_of(name: str, value: str) -> _Fill:
    if name.lower().rpartition(":")[2] not in URL_ATTRIBUTES:
        return _in_text
    return _whole_url if PLACEHOLDER.fullmatch(value.strip()) else _in_url


def _add_raw_text(parts: _Parts, source: str, at: int, tag: str) -> int:
    """Add what stands in a `<script>` or its like, where no tag begins but its end."""
    closing = _RAW_TEXT.get(tag)
    if closing is None:
        return at
    close = closing.search(source, at)
    end = close.start() if close else len(source)
    parts.add(source[at:end], _in_text)
    return end


def _as_it_is(_field: str, value: str) -> str:
    return value


def _in_header(field: str, value: str) -> str:
    if not header_safe(value):
        raise UnsafeHeader(field)
    return value


def _in_text(_field: str, value: str) -> str:
    return html.escape(value)


def _in_tag(_field: str, value: str) -> str:
    return _NOT_A_TOKEN.sub(lambda character: f"&#{ord(character[0])};", value)


def _in_url(_field: str, value: str) -> str:
    return quote(value, safe="", errors="replace")


def _whole_url(field: str, value: str) -> str:
    url = value.strip()
    if not _SAFE_URL.fullmatch(url):
        raise UnsafeUrl(field)
    return html.escape(url)
