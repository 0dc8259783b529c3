"""The text part of a mail, made from its HTML."""

import re
from html.parser import HTMLParser
from typing import Final

from kannon.core.fields import PLACEHOLDER

_SKIPPED: Final = frozenset(
    {"style", "script", "title", "template"}
)  # all that a head holds and a reader does not see
_PARAGRAPHS: Final = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr", "figure"}
)
_LINES: Final = frozenset(
    {
        "address",
        "article",
        "aside",
        "body",
        "center",
        "dd",
        "div",
        "dt",
        "footer",
        "form",
        "header",
        "li",
        "main",
    }
    | {"nav", "section", "tr", "fieldset"}
)
_CELLS: Final = frozenset({"td", "th"})
# html.parser gives up on some declarations, and reads comments more narrowly than browsers do.
_DECLARATION = re.compile(r"<!--(?:-?>|.*?(?:--!?>|\Z))|<!\[[^>]*>?", re.DOTALL)
_URL_END: Final = ")"
_MARK = re.compile("\ue000[0-9]+\ue001")


def text_from_html(html: str) -> str:
    """Write HTML as plain text: paragraphs, line breaks, lists with `- `, and links as `label (url)`.

    White space is folded, entities are decoded, what is not shown is left out. Placeholders are kept as
    written, so the text can be compiled with `compile_text`.
    """
    placeholders: dict[str, str] = {}

    def hide(placeholder: re.Match[str]) -> str:
        mark = f"\ue000{len(placeholders)}\ue001"
        placeholders[mark] = placeholder[0]
        return mark

    hidden = PLACEHOLDER.sub(hide, re.sub("[\ue000\ue001]", "", html))
    writer = _TextWriter()
    writer.feed(_DECLARATION.sub("<wbr>", hidden))
    writer.close()
    return _MARK.sub(lambda mark: placeholders.get(mark[0], ""), writer.text())


class _TextWriter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._breaks = 0  # line ends owed before the next word
        self._gap = False  # whether a space is owed before the next word
        self._bullet = ""
        self._depth = 0
        self._skipping: str | None = None
        self._link: tuple[str, int] | None = None  # where it leads, and where in the output its label begins

    def text(self) -> str:
        return "".join(self._out)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipping:
            return
        if tag in _SKIPPED:
            self._skipping = tag
        elif tag == "br":
            self._breaks = min(self._breaks + 1, 2)
        elif tag == "a":
            self._close_link()
            self._gap = self._gap or self._out[-1:] == [_URL_END]
            self._link = ((dict(attrs).get("href") or "").strip(), len(self._out))
        elif tag == "img":
            self._gap = True
            self.handle_data(dict(attrs).get("alt") or "")
            self._gap = True
        else:
            self._open_block(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            self._skipping = None if tag == self._skipping else self._skipping
        elif tag == "a":
            self._close_link()
        elif tag in ("ul", "ol"):
            self._depth = max(self._depth - 1, 0)
            self._break(1 if self._depth else 2)
        else:
            self._break_around(tag)
        if tag == "li":
            self._bullet = ""  # nothing was in the item

    def handle_data(self, data: str) -> None:
        if self._skipping or not data:
            return
        words = data.split()
        self._gap = self._gap or data[0].isspace()
        if words:
            self._say(" ".join(words))
            self._gap = data[-1].isspace()

    def _open_block(self, tag: str) -> None:
        if tag in ("ul", "ol"):
            self._break(1 if self._depth else 2)
            self._depth += 1
            return
        self._break_around(tag)
        if tag == "li":
            self._bullet = "  " * max(self._depth - 1, 0) + "- "

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

    def _close_link(self) -> None:
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
