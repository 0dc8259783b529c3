"""Patterns: texts with `{{ name }}` placeholders, cut into pieces once and filled for each Recipient."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kannon.core.errors import BadInput

PLACEHOLDER: Final = re.compile(r"\{\{[^{}<>\"']*+\}\}")


def name_of(placeholder: re.Match[str]) -> str:
    """The name of the field that a placeholder asks for; empty if it asks for none."""
    return placeholder[0][2:-2].strip()


class UnsafeField(BadInput):
    """A field's value may not stand where the template puts it.

    Attributes:
        field: its name.
        allowed: where it stands and what may stand there, to follow the name in a sentence.
    """

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(f"the field {field} {allowed}")
        self.field = field
        self.allowed = allowed


class UnsafeUrl(UnsafeField):
    """A field that is a link or a source, or begins one, and is no URL that may stand there."""


class UnsafeHeader(UnsafeField):
    """A value that may not stand in a header, mostly because it holds CR, LF or NUL (RFC 5322 §2.2)."""

    def __init__(
        self, field: str, allowed: str = "stands in a header and must not hold CR, LF or NUL"
    ) -> None:
        super().__init__(field, allowed)


class UnsafePlace(UnsafeField):
    """A placeholder where no value is safe, whatever it is.

    Attributes:
        place: such as `a script`.
    """

    def __init__(self, field: str, place: str) -> None:
        super().__init__(field, f"stands in {place}, where no value is safe")
        self.place = place


@dataclass(frozen=True, slots=True)
class Fill:
    """How a value is written at one kind of place.

    Attributes:
        write: from a field's name and value to what is written.
        may_refuse: whether `write` raises `UnsafeField` for some values.
    """

    write: Callable[[str, str], str]
    may_refuse: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A place where no value is safe, such as `a script`."""

    place: str


AS_IT_IS: Final = Fill(lambda _field, value: value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled text: its pieces in order, and which of them are placeholders, of what name, filled how."""

    pieces: tuple[str, ...]
    slots: tuple[tuple[int, str, Fill], ...]
    _checks: Mapping[str, frozenset[Fill]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checks: dict[str, frozenset[Fill]] = {}
        for _, name, fill in self.slots:
            if fill.may_refuse:
                checks[name] = checks.get(name, frozenset()) | {fill}
        object.__setattr__(self, "_checks", checks)

    @property
    def is_constant(self) -> bool:
        """Whether the text holds no placeholder, so that every Recipient gets the same."""
        return not self.slots

    @property
    def names(self) -> frozenset[str]:
        """The names of the fields it asks for."""
        return frozenset(name for _, name, _ in self.slots)

    def check(self, fields: Mapping[str, str]) -> None:
        """Find out, without writing anything, whether `render` would raise for these fields.

        Raises:
            UnsafeField: it would.
        """
        for name in self._checks.keys() & fields.keys():
            for fill in self._checks[name]:
                fill.write(name, fields[name])

    def render(self, fields: Mapping[str, str]) -> str:
        """Fill the placeholders that `fields` has values for, each as the place where it stands asks for.

        Raises:
            UnsafeUrl: a value that is to be a URL is none that we let through.
            UnsafeHeader: a value for a header holds CR, LF or NUL.
        """
        pieces = list(self.pieces)
        for index, name, fill in self.slots:
            value = fields.get(name)
            if value is not None:
                pieces[index] = fill.write(name, value)
        return "".join(pieces)


class Edit(NamedTuple):
    """What stands in the place of a part of a source.

    Attributes:
        start: where the part begins.
        end: where it ends.
        text: what stands there; of a slot, if nothing fills it.
        slot: the name and the way in which it is filled; None if it is not.
    """

    start: int
    end: int
    text: str
    slot: tuple[str, Fill] | None = None


def assembled(source: str, edits: Iterable[Edit], start: int, end: int) -> Pattern:
    """The Pattern of a part of a source.

    Args:
        edits: those within it, in order; none reaches into another.
    """
    pieces: list[str] = []
    slots: list[tuple[int, str, Fill]] = []
    at = start
    for edit in edits:
        pieces += (source[at : edit.start], edit.text)
        if edit.slot is not None:
            slots.append((len(pieces) - 1, *edit.slot))
        at = edit.end
    return Pattern((*pieces, source[at:end]), tuple(slots))


class PatternMaker:
    """A Pattern in the making: from a source's start to its end, places are filled; the rest stays.

    Args:
        source: the text.
        raw_fields: names of fields whose values are written as they are, everywhere.

    Attributes:
        edits: what has been made so far.
    """

    def __init__(self, source: str, raw_fields: Collection[str] = ()) -> None:
        self._source = source
        self._raw = frozenset(raw_fields)
        self.edits: list[Edit] = []

    def fill(self, start: int, end: int, fill: Fill | Refused) -> None:
        """Have the placeholders between two places of the source filled.

        Raises:
            UnsafePlace: there is one, not of a raw field, and none may stand there.
        """
        for placeholder in PLACEHOLDER.finditer(self._source, start, end):
            if name := name_of(placeholder):
                slot = (name, self._chosen(name, fill))
                self.edits.append(Edit(*placeholder.span(), placeholder[0], slot))

    def write(self, start: int, end: int, text: str) -> None:
        """Put a text in the place of a part of the source that holds no placeholder."""
        self.edits.append(Edit(start, end, text))

    def pattern(self) -> Pattern:
        """What has been made."""
        return assembled(self._source, self.edits, 0, len(self._source))

    def _chosen(self, name: str, fill: Fill | Refused) -> Fill:
        if name in self._raw:
            return AS_IT_IS
        if isinstance(fill, Refused):
            raise UnsafePlace(name, fill.place)
        return fill
