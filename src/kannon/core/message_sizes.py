"""How large the messages of a Batch get, told without building them."""

from collections import Counter
from collections.abc import Mapping, Set
from math import ceil
from typing import Final

from kannon.core.fields import Pattern
from kannon.core.quoted_printable import QuotedPattern
from kannon.core.tracking.links import Link, TrackedHtml, link_destination

HEADER_ROOM: Final = 20_000
"""Octets kept for headers, boundaries, signatures and a pixel.

A subject of 1,000 characters takes up to 7,000.
"""

# The most octets that a character of a value takes: `'` is `&#x27;` in HTML, a character of four octets is
# `%F0%9F…` in a URL and `=F0=9F…` in quoted-printable, whose lines break after 73 octets or more by three.
_ASCII_IN_HTML = 7
_ASCII_IN_TEXT = 4
_ANY_IN_EITHER = 13
_AT_A_SLOT = 8  # a line more, a space at the end of one

# What a token says takes 160 octets at most, a signature 86, a header 70; a Domain's name stands in an
# address once, twice in what is said. In base64, broken into lines, 3 octets take 4.2. In the largest mails a
# Domain of more than 64 octets has less room than it may need.
_TOKEN_ROOM = 700
_AT_A_CHARACTER_OF_A_URL = 1.4
_ASCII_IN_A_TOKEN = 5
_ANY_IN_A_TOKEN = 17


def _in_a_token(url: str) -> int:
    return _TOKEN_ROOM + ceil(_AT_A_CHARACTER_OF_A_URL * len(url))


class MessageSizes:
    """What messages with a body take in octets: HTML, the text made from it, and room for headers.

    Links are counted as written and as tracked: no policy takes more.

    Args:
        html: as it is where nothing is tracked.
        text: likewise.
        tracked: the same HTML where all is.

    Attributes:
        unfilled: what the message takes with all placeholders as they are written.
        per_character: the most by which a character more in any field may enlarge a message.
    """

    def __init__(self, html: Pattern, text: Pattern, tracked: TrackedHtml) -> None:
        self._html = html
        self._text = text
        self._slots = Counter(name for _, name, _ in tracked.pattern.slots)
        self._filled = Counter(name for pattern in (html, text) for _, name, _ in pattern.slots)
        self._links = tracked.links
        self._weights = _weights(self._html, self._text)
        self._add_links_to_weights()
        self.per_character = max((most for _, most in self._weights.values()), default=0)
        self.unfilled = self.exact({})
        slots = len(self._html.slots) + len(self._text.slots)
        # Lines that begin elsewhere break elsewhere, between every 73 and every 75 octets.
        moved = self.unfilled // 30 if slots else 0
        tokens = _TOKEN_ROOM * sum(self._slots[link.slot] for link in tracked.links if not link.constant)
        self._least = self.unfilled + moved + tokens + slots * _AT_A_SLOT

    @property
    def names(self) -> Set[str]:
        """The fields whose values a message's size depends on."""
        return self._weights.keys()

    def bound(self, *fields: Mapping[str, str]) -> int:
        """What no message with these fields is larger than, whichever of those with one name win; cheap."""
        return self._least + sum(map(self._filling, fields))

    def least(self, fields: Mapping[str, str]) -> int:
        """What no message with exactly these fields is smaller than; cheap, where `exact` would write them
        out as often as they are asked for."""
        return sum(
            times * len(fields[name].strip()) for name, times in self._filled.items() if name in fields
        )

    def exact(self, fields: Mapping[str, str]) -> int:
        """What the message with exactly these fields takes at most, by writing it without tokens.

        Raises:
            UnsafeField: it cannot be written.
        """
        html, text = (QuotedPattern(pattern).render(fields) for pattern in (self._html, self._text))
        tokens = sum(self._slots[link.slot] * _token_octets(link, fields) for link in self._links)
        return len(html.wire) + len(text.wire) + tokens + HEADER_ROOM

    def _add_links_to_weights(self) -> None:
        for link in self._links:
            for _, name, _ in link.href.slots:
                for_ascii, for_any = self._weights[name]
                times = self._slots[link.slot]
                self._weights[name] = (
                    for_ascii + times * _ASCII_IN_A_TOKEN,
                    for_any + times * _ANY_IN_A_TOKEN,
                )

    def _filling(self, fields: Mapping[str, str]) -> int:
        octets = 0
        for name in self._weights.keys() & fields.keys():
            value = fields[name]
            for_ascii, for_any = self._weights[name]
            octets += len(value) * (for_ascii if value.isascii() else for_any)
        return octets


def _token_octets(link: Link, fields: Mapping[str, str]) -> int:
    url = link_destination(link, "" if link.constant else link.href.render(fields))
    return _in_a_token(url) if url else 0


def _weights(html: Pattern, text: Pattern) -> dict[str, tuple[int, int]]:
    """Octets for each character of a field's value: of an ASCII value, of any."""
    in_html = Counter(name for _, name, _ in html.slots)
    in_text = Counter(name for _, name, _ in text.slots)
    return {
        name: (
            _ASCII_IN_HTML * in_html[name] + _ASCII_IN_TEXT * in_text[name],
            _ANY_IN_EITHER * (in_html[name] + in_text[name]),
        )
        for name in in_html.keys() | in_text.keys()
    }
