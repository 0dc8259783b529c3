"""What the edge has no room for: what waits for a few exchangers leaves room for all others."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from edge_smtp.hosts import Line
from edge_smtp.queues import Destination, DestinationQueues, Outlook

WORKED_OFF_SOON: Final = 180.0
"""Seconds: a destination that works off what is held for it within them is in nobody's way."""
SHORTEST_WAIT: Final = 60.0
LONGEST_WAIT: Final = 900.0
"""Seconds after which what there is no room for is offered again; for one that nobody knows yet, soon."""
COUNTED_EVERY: Final = 1.0
"""Seconds between two counts of what is held for all that are in trouble."""


class Room:
    """Whether there is room for more, by destination.

    Any destination may hold a quarter of the edge's capacity, and more if it answers and works that off soon.
    All that are suspended, slow or failing hold half of the capacity at the most.

    Args:
        capacity: Envelopes that the edge holds.
    """

    def __init__(self, queues: DestinationQueues[Any], capacity: int) -> None:
        self._queues = queues
        self._quarter = max(1, capacity // 4)
        self._half = max(1, capacity // 2)
        self._troubled = 0
        self._counted_at = float("-inf")

    @property
    def is_ample(self) -> bool:
        """Whether so little is held that there is room for everyone."""
        return len(self._queues) + self._queues.running < self._quarter

    def waits(self, destinations: Sequence[Destination | None], now: float) -> list[float | None]:
        """For each that wants in, in order: None if there is room, else the seconds until it may ask again.

        The seconds are 0.0 where they are as for an edge that is full. A destination that is None is not
        known, and finds room.
        """
        if now - self._counted_at >= COUNTED_EVERY:
            outlooks = (self._queues.outlook(queue.destination, now) for queue in self._queues.queues())
            self._troubled = sum(it.held for it in outlooks if _is_in_trouble(it))
            self._counted_at = now
        known: dict[Destination, Outlook] = {}
        more: Counter[Destination] = Counter()
        waits: list[float | None] = []
        for destination in destinations:
            if destination is None:
                waits.append(None)
                continue
            if destination not in known:
                known[destination] = self._queues.outlook(destination, now)
            outlook = known[destination]
            wait = self._wait(outlook, outlook.held + more[destination])
            if wait is None:
                more[destination] += 1
                self._troubled += _is_in_trouble(outlook)
            waits.append(wait)
        return waits

    def _wait(self, outlook: Outlook, held: int) -> float | None:
        in_trouble = _is_in_trouble(outlook)
        if held < self._quarter and not (in_trouble and self._troubled >= self._half):
            return None
        if outlook.line is Line.NEW:
            return 0.0
        if not in_trouble and outlook.seconds <= WORKED_OFF_SOON:
            return None
        # In whole steps: what has the same wait goes back in one event.
        return min((outlook.seconds // SHORTEST_WAIT + 1) * SHORTEST_WAIT, LONGEST_WAIT)


def _is_in_trouble(outlook: Outlook) -> bool:
    return outlook.line is None or outlook.line is Line.SLOW
