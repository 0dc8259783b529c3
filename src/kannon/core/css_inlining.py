"""Style sheets written into the tags that they are for: many mail programs know no others.

This loads css-inline: import it only where somebody asks for it. It loads nothing from elsewhere, neither by
network nor from disk.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from css_inline import CSSInliner, InlineError

from kannon.core.errors import BadInput
from kannon.core.html_tokens import Kind, tokens

MAX_WORK: Final = 30_000_000
"""Octets of style sheets times tags: what may come out of it is in proportion, and so is the time."""
MAX_DEPTH: Final = 500
"""Tags that are open at once. css-inline takes 5,000, and more end the process."""

_VOID: Final = frozenset(
    {
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    }
)
_BEGINNINGS: Final = {"{{": "}}", "{%": "%}"}
_AROUND: Final = 200
"""Characters before and behind a placeholder in a tag that tell what it is."""
_BEFORE_A_DECLARATION: Final = frozenset("\"';{")
_OPENS = re.compile(r"<[a-z]", re.IGNORECASE)
_FOREIGN = re.compile(r"<(?:svg|math)", re.IGNORECASE)
_STYLE = re.compile(r"<style", re.IGNORECASE)


def inlined(html: str) -> str:
    """Write a document's style sheets into its tags; what needs one, as `@media` does, stays in one.

    Placeholders and tags of Liquid stay where and as they are written. A fragment becomes a document.

    Raises:
        BadInput: there is too much of it, or no HTML can be made of it.
    """
    if _octets_of_styles(html) * html.count("<") > MAX_WORK:
        raise BadInput("html: has too many tags and too large style sheets for inline_css")
    _check_depth(html)
    word = _unused_word(html)
    kept: list[str] = []
    inliner = CSSInliner(keep_at_rules=True, keep_link_tags=True, load_remote_stylesheets=False)
    try:
        done = inliner.inline(_covered(html, word, kept))
    except InlineError:
        raise BadInput("html: style sheets cannot be written into its tags (inline_css)") from None
    return _uncovered(done, word, kept)


def _octets_of_styles(html: str) -> int:
    """Of style sheets, and of what holds some where it is not read as text."""
    raw = [token for token in tokens(html, 0, len(html)) if token.kind is Kind.RAW]
    held = (one for one in raw if one.tag == "style" or _STYLE.search(html, one.start, one.end))
    return sum(one.end - one.start for one in held)


def _check_depth(html: str) -> None:
    """Refuse HTML that would be nested too deep.

    What opens in a script or the like counts, too: in an image or a frame set it is read as HTML.
    """
    opened: Counter[str] = Counter()
    depth = 0
    never_open = (
        frozenset() if _FOREIGN.search(html) else _VOID
    )  # in these, `<link>` and the like hold what follows
    for token in tokens(html, 0, len(html)):
        if token.kind is Kind.END and opened[token.tag]:
            opened[token.tag] -= 1
            depth -= 1
        elif token.kind is Kind.START and token.tag not in never_open:
            opened[token.tag] += 1
            depth += 1
        elif token.kind is Kind.RAW:
            depth += len(_OPENS.findall(html, token.start, token.end))
        if depth > MAX_DEPTH:
            raise BadInput(f"html: more than {MAX_DEPTH} tags are open at once, too many for inline_css")


def _covered(html: str, word: str, kept: list[str]) -> str:
    """HTML with what passes for each placeholder in its place; the placeholders are added to `kept`."""

    source_pieces: list[str] = []
    at = 0
    for start, end in _placeholders(html):
        source_pieces += (html[at:start], f"{word}{len(kept)}x")
        kept.append(html[start:end])
        at = end
    source = "".join((*source_pieces, html[at:]))
    mark = re.compile(rf"{word}(\d+)x")
    pieces = []
    for token in tokens(source, 0, len(source)):
        part = source[token.start : token.end]
        if token.kind is Kind.TEXT:  # readers of HTML move words out of tables, and comments not
            part = mark.sub(r"<!--\g<0>-->", part)
        elif token.kind is Kind.START or token.tag == "style":
            part = mark.sub(lambda found: _in_tag(found, kept), part)
        pieces.append(part)
    return "".join(pieces)


def _placeholders(html: str) -> Iterator[tuple[int, int]]:
    """Where placeholders and tags of Liquid are; in time proportional to what there is to read, so a
    beginning without an end has those of its kind not looked for again."""
    ends, at = dict(_BEGINNINGS), 0
    while ends:
        found = re.compile("|".join(map(re.escape, ends))).search(html, at)
        if found is None:
            return
        end = html.find(ends[found[0]], found.end())
        if end < 0:
            del ends[found[0]]
            at = found.start()
        else:
            at = end + len(ends[found[0]])
            yield found.start(), at


def _in_tag(found: re.Match[str], kept: list[str]) -> str:
    before = found.string[max(0, found.start() - _AROUND) : found.start()]
    behind = found.string[found.end() : found.end() + _AROUND]
    if before.rstrip()[-1:] in _BEFORE_A_DECLARATION and not behind.lstrip().startswith(":"):
        return f"{found[0]}:0"
    is_name = kept[int(found[1])].startswith("{%") and before[-1:].isspace()
    return f"{found[0]} " if is_name else found[0]


def _unused_word(html: str) -> str:
    number = 0
    while (word := f"kept{number}y") in html:
        number += 1
    return word


def _uncovered(html: str, word: str, kept: list[str]) -> str:
    mark = re.compile(rf'<!--{word}(\d+)x-->|{word}(\d+)x(?:="")?(?:: ?0)?')
    seen = Counter(int(found[1] or found[2]) for found in mark.finditer(html))
    for number, text in enumerate(kept):
        if text.startswith("{%") and seen[number] != 1:
            raise BadInput(
                f"html: {text[:60]} stands where style sheets cannot be written into tags (inline_css)"
            )
    return mark.sub(lambda found: kept[int(found[1] or found[2])], html)
