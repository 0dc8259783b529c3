"""Fields: texts with `{{ name }}` placeholders, compiled once and filled for each Recipient.

A placeholder's name is any text without braces, quotes and angle brackets; spaces around it do not count.
A placeholder that nothing fills stays as written, and a value is never searched for placeholders.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from kannon.core import html_places as places
from kannon.core.html_tokens import Attribute, Kind, Token, attributes, tokens
from kannon.core.patterns import (
    AS_IT_IS,
    PLACEHOLDER,
    Edit,
    Fill,
    Pattern,
    PatternMaker,
    Refused,
    UnsafeField,
    UnsafeHeader,
    UnsafePlace,
    UnsafeUrl,
    assembled,
)

__all__ = [
    "Pattern",
    "UnsafeField",
    "UnsafeHeader",
    "UnsafePlace",
    "UnsafeUrl",
    "compile_header",
    "compile_html",
    "compile_text",
    "header_safe",
    "html_edits",
    "merge_fields",
]

_HEADER_BREAK = re.compile(r"[\r\n\0]")
_MARKUP_IN_STYLE = re.compile(r"<[a-z/]", re.IGNORECASE)


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
    return _compiled(source, AS_IT_IS)


def compile_header(source: str) -> Pattern:
    """Compile a subject; rendering raises `UnsafeHeader` for a value with CR, LF or NUL."""
    return _compiled(source, _IN_HEADER)


def compile_html(source: str, *, raw_fields: Collection[str] = ()) -> Pattern:
    """Compile HTML; values are written so that they cannot leave the place where they stand.

    - In text, attributes and comments they are HTML-escaped. What stands in a conditional comment for
      Outlook is HTML. An attribute's value with a placeholder and no quotes is given quotes.
    - In CSS, a `<style>` or a `style` attribute, all but letters, digits and ` #%.,-_` is CSS-escaped.
    - Within a URL they are percent-encoded. A placeholder that is the whole of one takes an http, https or
      mailto URL; in `href` also tel, sms, `#…` and nothing; in `src` and `background` also cid. One that
      begins a URL and is followed by `/`, `?` or `#` takes an http or https URL, of which only what may not
      stand in a URL is percent-encoded. Rendering raises `UnsafeUrl` for anything else.
    - In a script, an event handler, `srcdoc`, the scheme of a URL, a `javascript:` or `data:` URL, and the
      name of a tag or attribute no value is safe.

    Args:
        source: the HTML.
        raw_fields: names of fields whose values are HTML already, and are written as they are, everywhere.

    Raises:
        UnsafePlace: a placeholder stands where no value is safe, whether or not a field fills it.
    """
    return assembled(source, html_edits(source, raw_fields), 0, len(source))


def html_edits(source: str, raw_fields: Collection[str] = ()) -> list[Edit]:
    """What `compile_html` changes and fills, in order."""
    maker = PatternMaker(source, raw_fields)
    _add_markup(maker, source, 0, len(source))
    return maker.edits


def _compiled(source: str, fill: Fill) -> Pattern:
    maker = PatternMaker(source)
    maker.fill(0, len(source), fill)
    return maker.pattern()


def _in_header(field: str, value: str) -> str:
    if not header_safe(value):
        raise UnsafeHeader(field)
    return value


_IN_HEADER = Fill(_in_header, may_refuse=True)


def _add_markup(
    maker: PatternMaker, source: str, start: int, end: int, *, with_raw_text: bool = True
) -> None:
    following = source.find("{{", start, end)
    for token in tokens(source, start, end, for_outlook=True, with_raw_text=with_raw_text):
        if following < token.start:
            following = source.find("{{", token.start, end)
        if following < 0:
            return
        if following < token.end:
            _add(maker, source, token)


def _add(maker: PatternMaker, source: str, token: Token) -> None:
    if token.kind in (Kind.START, Kind.END):
        _add_tag(maker, source, token)
    elif token.kind is Kind.RAW:
        _add_raw_text(maker, source, token)
    else:
        fill = places.IN_TEXT if token.kind is Kind.TEXT else places.IN_COMMENT
        maker.fill(token.start, token.end, fill)


def _add_raw_text(maker: PatternMaker, source: str, token: Token) -> None:
    if token.tag == "script":
        maker.fill(token.start, token.end, Refused("a script"))
    elif token.tag != "style":
        # Not every reader knows that no tag begins in a title: values are safe either way.
        _add_markup(maker, source, token.start, token.end, with_raw_text=False)
    elif _MARKUP_IN_STYLE.search(source, token.start, token.end):
        maker.fill(token.start, token.end, Refused("a style that holds tags"))
    else:
        maker.fill(token.start, token.end, places.IN_CSS)


def _add_tag(maker: PatternMaker, source: str, token: Token) -> None:
    maker.fill(token.start, token.name_end, Refused("the name of a tag"))
    found = list(attributes(source, token))
    refreshes = places.refreshes(token.tag, source, found)
    for attribute in found:
        maker.fill(attribute.name_start, attribute.name_end, Refused("the name of an attribute"))
        value = source[attribute.start : attribute.end]
        if PLACEHOLDER.search(value):
            fills = places.value_fills(token.tag, attribute.name, value, refreshes=refreshes)
            _add_value(maker, source, attribute, fills)


def _add_value(
    maker: PatternMaker, source: str, attribute: Attribute, fills: Iterable[tuple[int, int, Fill | Refused]]
) -> None:
    mark = '"' if attribute.is_bare else ""
    maker.write(attribute.start, attribute.start, mark)
    at = attribute.start
    for start, end, fill in fills:
        _add_part(maker, source, at, attribute.start + start, places.IN_TEXT, mark)
        at = attribute.start + end
        _add_part(maker, source, attribute.start + start, at, fill, mark)
    _add_part(maker, source, at, attribute.end, places.IN_TEXT, mark)
    maker.write(attribute.end, attribute.end, mark)


def _add_part(
    maker: PatternMaker, source: str, start: int, end: int, fill: Fill | Refused, mark: str
) -> None:
    """Add a part of a value; the quotation mark that was put around it must not stand in it."""
    while mark and (found := source.find(mark, start, end)) >= 0:
        maker.fill(start, found, fill)
        maker.write(found, found + 1, "&quot;")
        start = found + 1
    maker.fill(start, end, fill)
