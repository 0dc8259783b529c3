"""Texts as body parts have them: UTF-8 in quoted-printable (RFC 2045 §6.7), and as DKIM hashes them."""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from kannon.core.body_parts import MAX_LINE
from kannon.core.canonical import spaces_folded
from kannon.core.patterns import Fill, Pattern

_ROOM: Final = MAX_LINE - 1  # a `=` may have to follow
_SOFT_BREAK: Final = b"=\r\n"  # the end of a line that the reader joins with the next
_OVERLONG = re.compile(rb"^(.{74,75})(=20|=09)$", re.MULTILINE)  # b2a_qp does not count what it encodes last
_AS_IT_IS = re.compile(rf"(?!.{{{_ROOM + 1}}})[!-<>-~]++(?: [!-<>-~]++)*")
_LONG_WORD = re.compile(rf"[!-<>-~]{{{_ROOM + 1},}}+")  # such as the address of a tracked link
_LINES = re.compile(rb".{1,%d}" % _ROOM)
# Canonical, too, whatever stands before and behind it on its line.
_WITHIN_A_LINE = re.compile(rb"(?!.{%d})[!-~]++(?: [!-~]++)*" % (_ROOM + 1))


def encode_body(text: str) -> bytes:
    """Encode a part's text: UTF-8, quoted-printable, lines of at most 76 ended by CRLF (RFC 2045 §6.7)."""
    data = text.encode("utf-8", "replace")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    encoded = binascii.b2a_qp(data)
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _OVERLONG.sub(rb"\1=\n\2", encoded)
    return encoded.replace(b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class Quoted:
    """A text that is encoded.

    Attributes:
        wire: as it is sent; neither it nor a line in it ends in white space.
        canonical: the same, relaxed (RFC 6376 §3.4.4).
    """

    wire: bytes
    canonical: bytes

    @classmethod
    def encode(cls, text: str) -> Self:
        """Encode a text, as `encode_body` does."""
        wire = encode_body(text)
        return cls(wire, spaces_folded(wire))


@dataclass(frozen=True, slots=True)
class _Value:
    """A value that stands at one or more places, written the same at all of them.

    Attributes:
        unfilled: what stands there if no field has the name.
        places: of each its index, how many octets the line has room for, and whether it goes on behind it.
    """

    name: str
    fill: Fill
    unfilled: str
    places: tuple[tuple[int, int, bool], ...]

    def text(self, fields: Mapping[str, str]) -> str:
        value = fields.get(self.name)
        return self.unfilled if value is None else self.fill.write(self.name, value)


class QuotedPattern:
    """A Pattern of which all that is constant is encoded once; filling it encodes values alone.

    What follows a placeholder begins a line, by a line end that readers undo, as they do with those in long
    lines. So it is encoded the same whatever the value is, and a text takes at most six octets more for each
    placeholder than if it were encoded as one.

    Args:
        pattern: of the text.
    """

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._constant = Quoted.encode(pattern.render({})) if pattern.is_constant else None
        texts = _constant_texts(pattern)
        # A CR before a placeholder may be half of a line end whose other half is in a value.
        self._is_divisible = not any(text.endswith("\r") for text in texts[:-1])
        pieces = [_piece(text, at, len(texts) - 1) for at, text in enumerate(texts)]
        self._wire = _with_gaps(pieces)
        canonical = _with_gaps([spaces_folded(piece) for piece in pieces])
        self._canonical = self._wire if canonical == self._wire else canonical
        self._values = _values(pattern, pieces)

    @property
    def is_constant(self) -> bool:
        """Whether the text holds no placeholder, so that every Recipient gets the same."""
        return self._pattern.is_constant

    def render(self, fields: Mapping[str, str]) -> Quoted:
        """Fill the placeholders that `fields` has values for, and encode the text.

        Raises:
            UnsafeField: as `Pattern.render` does.
        """
        if self._constant is not None:
            return self._constant
        written, are_canonical = [b""] * len(self._pattern.slots), True
        for value in self._values:
            text = value.text(fields)
            if "\r" in text or not self._is_divisible:
                return Quoted.encode(self._pattern.render(fields))
            are_canonical &= _write(text, value.places, written)
        wire = _joined(self._wire, written)
        if are_canonical and self._canonical is self._wire:
            return Quoted(wire, wire)
        folded = written if are_canonical else [spaces_folded(one) for one in written]
        return Quoted(wire, _joined(self._canonical, folded))


def _write(text: str, places: Sequence[tuple[int, int, bool]], written: list[bytes]) -> bool:
    """Encode a value for each of its places; tells whether it is canonical."""
    data = text.encode() if _AS_IT_IS.fullmatch(text) else _going_on(text)
    if _WITHIN_A_LINE.fullmatch(data):
        for index, room, _ in places:
            written[index] = data if len(data) <= room else _SOFT_BREAK + data
        return True
    has_space = b" " in data or b"\t" in data
    for index, room, goes_on in places:
        # At the end of a line it must not end in white space, nor leave some before it if it is empty.
        encoded = data if goes_on else encode_body(text)
        written[index] = encoded if room == _ROOM or (goes_on and not data) else _SOFT_BREAK + encoded
    return not has_space


def _going_on(text: str) -> bytes:
    """Encode a text that something on the same line follows: one octet at least."""
    if _LONG_WORD.fullmatch(text):  # five times as fast
        return _SOFT_BREAK.join(_LINES.findall(text.encode()))
    return encode_body(f"{text}x")[:-1]


def _constant_texts(pattern: Pattern) -> list[str]:
    """What stands before, between and behind the placeholders."""
    ends = [*(index for index, _, _ in pattern.slots), len(pattern.pieces)]
    starts = [0, *(end + 1 for end in ends)]
    return ["".join(pattern.pieces[start:end]) for start, end in zip(starts, ends, strict=False)]


def _piece(text: str, number: int, last: int) -> bytes:
    encoded = encode_body(text) if number == last else _going_on(text)
    begins_a_line = number == 0 or text.startswith(("\n", "\r"))
    return encoded if begins_a_line or (number == last and not text) else _SOFT_BREAK + encoded


def _values(pattern: Pattern, pieces: Sequence[bytes]) -> list[_Value]:
    found: dict[tuple[str, Fill, str], list[tuple[int, int, bool]]] = {}
    for number, (index, name, fill) in enumerate(pattern.slots):
        before, behind = pieces[number : number + 2]
        room = _ROOM - (len(before) - before.rfind(b"\n") - 1)
        place = (number, room, behind.startswith(_SOFT_BREAK))
        found.setdefault((name, fill, pattern.pieces[index]), []).append(place)
    return [_Value(*key, tuple(places)) for key, places in found.items()]


def _with_gaps(pieces: Sequence[bytes]) -> list[bytes]:
    gaps = [b""] * (2 * len(pieces) - 1)
    gaps[::2] = pieces
    return gaps


def _joined(pieces: Sequence[bytes], written: Sequence[bytes]) -> bytes:
    parts = list(pieces)
    parts[1::2] = written
    return b"".join(parts)
