"""A reader of HTML, state by state as the standard has it (HTML §13.2.5); written apart from `core/`.

It knows no placeholders, and reads what the standard calls foreign content as all else.
"""

from dataclasses import dataclass, field

_SPACE = "\t\n\f\r "
_RAW = {"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"}


@dataclass
class Attribute:
    """An attribute: from where to where it is, its value too, and in what quotes that is."""

    start: int
    name: str = ""
    value_start: int = 0
    value_end: int = 0
    end: int = 0


@dataclass
class Tag:
    """A tag that has its end."""

    start: int
    name: str
    is_end: bool
    attributes: list[Attribute] = field(default_factory=list)
    name_end: int = 0
    end: int = 0

    def first(self, name: str) -> Attribute | None:
        """The attribute of that name that counts."""
        return next((one for one in self.attributes if one.name == name), None)


class Reader:
    """Reads a source.

    Attributes:
        tags: those that it has, in order.
        open_at: where what has not ended when the source does begins; None if there is no such thing.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.tags: list[Tag] = []
        self.open_at: int | None = None
        self._at = 0
        while self.open_at is None and (start := source.find("<", self._at)) >= 0:
            self._at = start + 1
            self._tag_open(start)

    def _peek(self, ahead: int = 0) -> str:
        return self.source[self._at + ahead : self._at + ahead + 1]

    def _tag_open(self, start: int) -> None:
        if self._peek() == "!":
            self._declaration(start)
        elif self._peek() == "?":
            self._until(start, ">")
        elif self._peek() == "/":
            if _is_letter(self._peek(1)):
                self._at += 1
                self._tag(start, is_end=True)
            else:
                self._until(start, ">")
        elif _is_letter(self._peek()):
            self._tag(start, is_end=False)

    def _declaration(self, start: int) -> None:
        if not self.source.startswith("--", self._at + 1):
            self._until(start, ">")
            return
        self._at += 3
        for abrupt in (">", "->"):
            if self.source.startswith(abrupt, self._at):
                self._at += len(abrupt)
                return
        self._until(start, "-->", "--!>")

    def _until(self, start: int, *ends: str) -> None:
        found = [(at, end) for end in ends if (at := self.source.find(end, self._at)) >= 0]
        if found:
            at, end = min(found)
            self._at = at + len(end)
        else:
            self.open_at = start

    def _tag(self, start: int, *, is_end: bool) -> None:
        name_start = self._at
        while self._peek() and self._peek() not in _SPACE + "/>":
            self._at += 1
        tag = Tag(start, self.source[name_start : self._at].lower(), is_end, name_end=self._at)
        while self._peek() != ">":
            if not self._peek():
                self.open_at = start
                return
            if self._peek() in _SPACE + "/":
                self._at += 1
            else:
                tag.attributes.append(self._attribute())
        self._at += 1
        tag.end = self._at
        self.tags.append(tag)
        if not is_end and tag.name in _RAW:
            self._raw(tag)

    def _attribute(self) -> Attribute:
        made = Attribute(self._at)
        self._at += 1
        while self._peek() and self._peek() not in _SPACE + "/>=":
            self._at += 1
        made.name = self.source[made.start : self._at].lower()
        made.value_start = made.value_end = made.end = self._at
        self._spaces()
        if self._peek() != "=":
            self._at = made.end
            return made
        self._at += 1
        made.end = self._at
        self._spaces()
        if self._peek() in ('"', "'"):
            self._quoted(made, self._peek())
        elif self._peek() not in (">", ""):
            made.value_start = self._at
            while self._peek() and self._peek() not in _SPACE + ">":
                self._at += 1
            made.value_end = made.end = self._at
        else:
            made.end = self._at
        return made

    def _quoted(self, made: Attribute, mark: str) -> None:
        made.value_start = self._at + 1
        end = self.source.find(mark, made.value_start)
        if end < 0:
            self._at = made.end = made.value_end = len(self.source)
        else:
            made.value_end, self._at = end, end + 1
            made.end = self._at

    def _spaces(self) -> None:
        while self._peek() and self._peek() in _SPACE:
            self._at += 1

    def _raw(self, tag: Tag) -> None:
        lower, end, at = self.source.lower(), f"</{tag.name}", self._at
        while (at := lower.find(end, at)) >= 0:
            behind = lower[at + len(end) : at + len(end) + 1]
            if behind and behind in _SPACE + "/>":
                self._at = at
                return
            at += 1
        self.open_at = tag.start


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()
