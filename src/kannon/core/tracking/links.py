"""The links of HTML and the place for a pixel, found once; a Pattern has slots for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kannon.core.html_tokens import Attribute, Kind, Token, attributes, decoded_value, tokens
from kannon.core.patterns import AS_IT_IS, Edit, Pattern, assembled
from kannon.core.tracking.destinations import destination, may_become_one

OPT_OUT: Final = "data-no-track"
PIXEL_SLOT: Final = "{pixel}"  # no placeholder's name holds a brace
_LINKS: Final = frozenset({"a", "area"})
_AMP: Final = frozenset({"\u26a14email", "\u26a1\ufe0f4email", "amp4email"})
_PIXEL: Final = ('<img src="', '" width="1" height="1" alt="" style="border:0">')


@dataclass(frozen=True, slots=True)
class Link:
    """A link that may be tracked, at all the places where it stands.

    Attributes:
        slot: the name of its slot.
        href: what stands there if it is not tracked.
        constant: where it leads, in every mail; None if fields decide.
    """

    slot: str
    href: Pattern
    constant: str | None


@dataclass(frozen=True, slots=True)
class TrackedHtml:
    """HTML of which links and pixel are slots.

    Attributes:
        pattern: with a slot for each Link, and PIXEL_SLOT if there is a pixel; all of them must be filled.
        links: without those that are never tracked.
        has_pixel: whether there is a place for one.
    """

    pattern: Pattern
    links: tuple[Link, ...]
    has_pixel: bool

    @property
    def is_constant(self) -> bool:
        """Whether it asks for no field, so that links and pixel are all that mails differ in."""
        return self.pattern.names <= {PIXEL_SLOT, *(link.slot for link in self.links if link.constant)}


def compile_tracked(source: str, edits: Sequence[Edit], *, opens: bool, links: bool) -> TrackedHtml:
    """Compile HTML as `compile_html` does, with slots for what tells that it was read.

    A link is the first `href` of an `<a>` or `<area>` that is http or https, or may become it by what is
    filled in. Not so in comments, those for Outlook among them, in scripts and their like, in AMP for email,
    where a raw field stands in it, and where the tag says `data-no-track`. But for links, that attribute and
    the pixel not an octet is changed.

    Args:
        source: the HTML.
        edits: what `html_edits` says of it.
        opens: whether a pixel is to tell; it stands before the last `</body>`, or at the end.
        links: whether links are to tell.
    """
    found = _found(source)
    maker = _Maker(source, edits)
    for place in sorted(found.places(opens=opens, links=links)):
        maker.add(place)
    return maker.made(has_pixel=opens and found.pixel_at is not None)


def link_destination(link: Link, written: str) -> str | None:
    """Where a link leads, by its `href` as it is written in one mail; None if that is not tracked."""
    return link.constant or destination(decoded_value(written))


class _Place(NamedTuple):
    start: int
    end: int
    is_link: bool = False


@dataclass(slots=True)
class _Found:
    hrefs: list[_Place] = field(default_factory=list)
    opted_out: list[_Place] = field(default_factory=list)
    pixel_at: int | None = None

    def places(self, *, opens: bool, links: bool) -> Iterator[_Place]:
        yield from self.opted_out
        if links:
            yield from self.hrefs
        if opens and self.pixel_at is not None:
            yield _Place(self.pixel_at, self.pixel_at)


def _found(source: str) -> _Found:
    found, before = _Found(), None
    open_at = len(source)
    for token in tokens(source, 0, len(source)):
        if token.end == len(source) and _is_open(source, token):
            open_at = before.start if token.kind is Kind.RAW and before else token.start
        elif token.kind is Kind.START and token.tag in _LINKS:
            _add_link(found, source, token)
        elif token.kind is Kind.START and token.tag == "html" and _is_amp(source, token):
            return _Found()
        elif token.kind is Kind.END and token.tag == "body":
            found.pixel_at = token.start
        before = token
    if found.pixel_at is None:
        found.pixel_at = open_at
    return found


def _is_amp(source: str, tag: Token) -> bool:
    return any(one.name in _AMP for one in attributes(source, tag))


def _is_open(source: str, last: Token) -> bool:
    """Whether what begins at the last token has not ended, and would take in what is put behind it."""
    if last.kind in (Kind.TEXT, Kind.RAW):
        return last.kind is Kind.RAW
    more = source[last.start :] + "x"
    return next(tokens(more, 0, len(more))).end == len(more)


def _add_link(found: _Found, source: str, tag: Token) -> None:
    named = list(attributes(source, tag))
    opted_out = [number for number, one in enumerate(named) if one.name == OPT_OUT]
    if opted_out:
        found.opted_out += (_removed(source, tag, named, number) for number in opted_out)
        return
    href = next((one for one in named if one.name == "href"), None)
    if href is not None and href.start < href.end:
        found.hrefs.append(_Place(href.start, href.end, is_link=True))


def _removed(source: str, tag: Token, named: Sequence[Attribute], number: int) -> _Place:
    """What goes with an attribute: the space before it, unless that must divide what is left."""
    one = named[number]
    before = named[number - 1].behind if number else tag.name_end
    divides = source[one.behind : one.behind + 1] not in "\t\n\f\r >"
    return _Place(one.name_start if divides else before, one.behind)


class _Maker:
    """A TrackedHtml in the making, from its start to its end."""

    def __init__(self, source: str, edits: Sequence[Edit]) -> None:
        self._source = source
        self._edits = edits
        self._next = 0
        self._made: list[Edit] = []
        self._links: dict[Pattern, Link | None] = {}

    def add(self, place: _Place) -> None:
        """Add what is behind the last place and stands before this one, and this one."""
        while self._next < len(self._edits) and self._edits[self._next].end <= place.start:
            self._made.append(self._edits[self._next])
            self._next += 1
        if place.start == place.end:
            self._add_pixel(place.start)
            return
        first = self._next
        while self._next < len(self._edits) and self._is_within(self._edits[self._next], place):
            self._next += 1
        within = self._edits[first : self._next]
        if place.is_link:
            self._add_link(place, within)
        else:
            self._made.append(Edit(place.start, place.end, ""))

    def made(self, *, has_pixel: bool) -> TrackedHtml:
        """All of it."""
        edits = (*self._made, *self._edits[self._next :])
        links = tuple(link for link in self._links.values() if link)
        return TrackedHtml(assembled(self._source, edits, 0, len(self._source)), links, has_pixel)

    def _is_within(self, edit: Edit, place: _Place) -> bool:
        # The quotation mark that is put behind a bare value goes with an attribute and stays with a link.
        return edit.start < place.end or (edit.end <= place.end and not place.is_link)

    def _add_pixel(self, at: int) -> None:
        before, behind = _PIXEL
        self._made += (
            Edit(at, at, before),
            Edit(at, at, "", (PIXEL_SLOT, AS_IT_IS)),
            Edit(at, at, behind),
        )

    def _add_link(self, place: _Place, within: Sequence[Edit]) -> None:
        href = assembled(self._source, within, place.start, place.end)
        if href not in self._links:
            self._links[href] = _link(f"{{{len(self._links)}}}", href)
        if link := self._links[href]:
            text = self._source[place.start : place.end]
            self._made.append(Edit(place.start, place.end, text, (link.slot, AS_IT_IS)))
        else:
            self._made += within


def _link(slot: str, href: Pattern) -> Link | None:
    """A link with this `href`; None if it is never tracked, whatever is filled in."""
    if href.is_constant:
        constant = destination(decoded_value(href.render({})))
        return Link(slot, href, constant) if constant else None
    if any(fill is AS_IT_IS for _, _, fill in href.slots):
        return None
    beginning = decoded_value("".join(href.pieces[: href.slots[0][0]]))
    return Link(slot, href, None) if may_become_one(beginning) else None
