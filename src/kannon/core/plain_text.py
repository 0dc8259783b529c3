"""The text part of a mail, made from its HTML."""

from collections.abc import Iterator
from typing import Final

from kannon.core.html_tokens import Kind, Token, attributes, decoded, tokens
from kannon.core.patterns import PLACEHOLDER

MAX_DEPTH: Final = 8
"""Lists within lists that are indented; what lies deeper is not indented further."""

_PARAGRAPHS: Final = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr", "figure"}
)
_LINES: Final = frozenset(
    {"address", "article", "aside", "body", "center", "dd", "div", "dt", "fieldset", "footer", "form"}
    | {"header", "li", "main", "nav", "section", "tr"}
)
_CELLS: Final = frozenset({"td", "th"})
_SHOWN_RAW: Final = frozenset({"textarea", "xmp"})
_URL_END: Final = ")"


def text_from_html(html: str) -> str:
    """Write HTML as plain text: paragraphs, line breaks, lists with `- `, and links as `label (url)`.

    White space is folded, entities are decoded, what is not shown is left out. Placeholders are kept as
    written, so the text can be compiled with `compile_text`. The text is never longer than twice the HTML,
    and takes time in proportion to it.
    """
    writer = _TextWriter(len(html))
    in_template = False
    for token in tokens(html, 0, len(html)):
        if token.tag == "template":
            in_template = token.kind is Kind.START
        elif not in_template:
            _write(writer, html, token)
    writer.close_link()
    return writer.text()


def _write(writer: "_TextWriter", html: str, token: Token) -> None:
    if token.kind is Kind.TEXT or (token.kind is Kind.RAW and token.tag in _SHOWN_RAW):
        writer.write(html[token.start : token.end])
    elif token.kind is Kind.START:
        if token.tag == "a":
            writer.open_link(_attribute(html, token, "href"))
        elif token.tag == "img":
            writer.write(f" {_attribute(html, token, 'alt')} ")
        else:
            writer.open(token.tag)
    elif token.kind is Kind.END:
        writer.close(token.tag)


def _attribute(html: str, token: Token, name: str) -> str:
    found = (one for one in attributes(html, token) if one.name == name)
    return next((html[one.start : one.end] for one in found), "")


class _TextWriter:
    """The text in the making.

    Args:
        indentation: spaces that lists may be indented by, in all.
    """

    def __init__(self, indentation: int) -> None:
        self._out: list[str] = []
        self._breaks = 0  # line ends owed before the next word
        self._gap = False  # whether a space is owed before the next word
        self._bullet = ""
        self._depth = 0
        self._indentation = indentation
        self._link: tuple[str, int] | None = None  # where it leads, and where in the output its label begins

    def text(self) -> str:
        return "".join(self._out)

    def open(self, tag: str) -> None:
        if tag == "br":
            self._breaks = min(self._breaks + 1, 2)
        elif tag in ("ul", "ol"):
            self._break(1 if self._depth else 2)
            self._depth += 1
        else:
            self._break_around(tag)
            if tag == "li":
                self._bullet = self._indented("- ")

    def close(self, tag: str) -> None:
        if tag == "a":
            self.close_link()
        elif tag in ("ul", "ol"):
            self._depth = max(self._depth - 1, 0)
            self._break(1 if self._depth else 2)
        else:
            self._break_around(tag)
        if tag == "li":
            self._bullet = ""  # nothing was in the item

    def open_link(self, href: str) -> None:
        self.close_link()
        self._gap = self._gap or self._out[-1:] == [_URL_END]
        self._link = (decoded(href).strip(), len(self._out))

    def close_link(self) -> None:
        if self._link is None:
            return
        href, start = self._link
        self._link = None
        label = "".join(self._out[start:]).strip()
        if not href or href.startswith("#"):
            return
        if not label:
            self._say(href)
        elif label not in (href, href.removeprefix("mailto:"), href.removeprefix("tel:")):
            self._out += (f" ({href}", _URL_END)

    def write(self, source: str) -> None:
        for words, is_placeholder in _cut(source):
            if is_placeholder:
                self._say(words)
            else:
                self._write_words(decoded(words))

    def _write_words(self, text: str) -> None:
        words = text.split()
        self._gap = self._gap or text[:1].isspace()
        if words:
            self._say(" ".join(words))
            self._gap = text[-1].isspace()

    def _indented(self, bullet: str) -> str:
        spaces = 2 * min(max(self._depth - 1, 0), MAX_DEPTH)
        if spaces > self._indentation:
            return bullet
        self._indentation -= spaces
        return " " * spaces + bullet

    def _break_around(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            # Within an item of a list, paragraphs follow each other closely.
            self._break(1 if self._depth else 2)
        elif tag in _LINES:
            self._break(1)
        elif tag in _CELLS:
            self._gap = True

    def _break(self, lines: int) -> None:
        self._breaks = max(self._breaks, lines)

    def _say(self, words: str) -> None:
        if not self._out or self._breaks:
            lines = "\n" * self._breaks if self._out else ""
            self._out.append(lines + self._bullet)
            self._bullet = ""
        elif self._gap:
            self._out.append(" ")
        self._breaks, self._gap = 0, False
        self._out.append(words)


def _cut(source: str) -> Iterator[tuple[str, bool]]:
    """Text and the placeholders in it, in turn."""
    at = 0
    for placeholder in PLACEHOLDER.finditer(source):
        yield source[at : placeholder.start()], False
        yield placeholder[0], True
        at = placeholder.end()
    yield source[at:], False
