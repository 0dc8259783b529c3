"""What waits, by destination: fair between them, and careful with those that may not answer.

A destination begins with two transmissions at once. Each that reaches an exchanger lets it have one more, up
to its limit; one that does not puts it back to a single one. All that have not answered lately share three
quarters of the slots, so that those which answer always find some free.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

FIRST_LIMIT: Final = 2


@dataclass(slots=True)
class _Destination(Generic[T]):
    waiting: deque[T] = field(default_factory=deque)
    running: int = 0
    limit: int = FIRST_LIMIT
    answers: bool = False
    in_line: bool = False


class DestinationQueues(Generic[K, T]):
    """Decides what is transmitted next.

    Args:
        slots: how much may be under way at once.
        per_destination: how much of it to one destination.
    """

    def __init__(self, slots: int, per_destination: int) -> None:
        self._slots = slots
        self._per_destination = per_destination
        self._for_silent = max(1, slots * 3 // 4)
        self._destinations: dict[K, _Destination[T]] = {}
        self._answering: deque[K] = deque()  # destinations whose turn comes: something waits, and may go
        self._silent: deque[K] = deque()
        self._running = 0
        self._running_silent = 0
        self._waiting = 0
        self._silent_is_next = False

    def __len__(self) -> int:
        """How much waits."""
        return self._waiting

    @property
    def running(self) -> int:
        """How much is under way."""
        return self._running

    def put(self, key: K, item: T) -> None:
        """Let `item` wait for its turn."""
        destination = self._destinations.setdefault(key, _Destination())
        destination.waiting.append(item)
        self._waiting += 1
        self._line_up(key, destination)

    def take(self) -> tuple[K, T] | None:
        """What is to be transmitted now; None if nothing may be. Its end must be told with `done`."""
        if self._running >= self._slots:
            return None
        line = self._next_line()
        if line is None:
            return None
        key = line.popleft()
        destination = self._destinations[key]
        destination.in_line = False
        item = destination.waiting.popleft()
        destination.running += 1
        self._running += 1
        self._running_silent += not destination.answers
        self._waiting -= 1
        self._line_up(key, destination)
        return key, item

    def done(self, key: K, reached: bool) -> None:
        """A transmission to `key` has ended.

        Args:
            reached: whether an exchanger answered as far as the mail itself.
        """
        destination = self._destinations[key]
        destination.running -= 1
        self._running -= 1
        self._running_silent -= not destination.answers
        self._learn(key, destination, reached)
        if destination.waiting:
            self._line_up(key, destination)
        elif not destination.running:
            del self._destinations[key]

    def _next_line(self) -> deque[K] | None:
        may_be_silent = bool(self._silent) and self._running_silent < self._for_silent
        if may_be_silent and (self._silent_is_next or not self._answering):
            self._silent_is_next = False
            return self._silent
        self._silent_is_next = True
        return self._answering or None

    def _line_up(self, key: K, destination: _Destination[T]) -> None:
        limit = min(destination.limit, self._per_destination)
        if destination.waiting and not destination.in_line and destination.running < limit:
            destination.in_line = True
            (self._answering if destination.answers else self._silent).append(key)

    def _learn(self, key: K, destination: _Destination[T], reached: bool) -> None:
        if reached != destination.answers:
            if destination.in_line:
                (self._answering if destination.answers else self._silent).remove(key)
                destination.in_line = False
            self._running_silent += destination.running if destination.answers else -destination.running
            destination.answers = reached
        destination.limit = min(destination.limit + 1, self._per_destination) if reached else 1
