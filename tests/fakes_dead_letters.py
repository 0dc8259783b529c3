"""Dead letters in memory. Keeps to the contract suite of its port."""

from dataclasses import dataclass, field

from kannon.core.dead_letters import DeadLetter, Retried, range_of
from kannon.core.errors import EventsUnavailable
from kannon.ports import DeadLetterPage


@dataclass(frozen=True)
class Republished:
    """An event that was put back into its stream, and the items of it that are to be handled."""

    event: str
    data: bytes
    items: str


@dataclass
class FakeDeadLetterStore:
    """Letters as they were put in; `full` lets no event back, `away` makes it answer nothing.

    Attributes:
        known: names of events that a stage takes.
    """

    letters: dict[int, tuple[DeadLetter, bytes]] = field(default_factory=dict)
    republished: list[Republished] = field(default_factory=list)
    known: set[str] = field(default_factory=lambda: {"batch.accepted", "recipients.verified"})
    full: bool = False
    away: bool = False

    async def page(self, event: str, after: int, take: int) -> DeadLetterPage:
        """See `ports.DeadLetterStore`."""
        self._answer()
        found = [
            letter
            for number, (letter, _) in sorted(self.letters.items())
            if number > after and event in ("", letter.event)
        ]
        return DeadLetterPage(found[:take], len(found))

    async def letter(self, sequence: int) -> tuple[DeadLetter, bytes] | None:
        """See `ports.DeadLetterStore`."""
        self._answer()
        return self.letters.get(sequence)

    async def retry(self, sequence: int) -> Retried:
        """See `ports.DeadLetterStore`."""
        self._answer()
        if sequence not in self.letters:
            return Retried.GONE
        letter, data = self.letters[sequence]
        if letter.is_omitted:
            return Retried.OMITTED
        if letter.event not in self.known:
            return Retried.UNKNOWN
        if self.full:
            raise EventsUnavailable("the stream is full")
        self.republished.append(Republished(letter.event, data, range_of(letter.item)))
        del self.letters[sequence]
        return Retried.DONE

    async def drop(self, sequence: int) -> bool:
        """See `ports.DeadLetterStore`."""
        self._answer()
        return self.letters.pop(sequence, None) is not None

    def _answer(self) -> None:
        if self.away:
            raise EventsUnavailable("away")
