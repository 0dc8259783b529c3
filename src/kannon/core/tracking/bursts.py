"""Finds what follows several links of one mail at once, as scanners do and people cannot.

A click is held back until it is clear that no other link of its mail is followed at the same time: what was
reported is written down, and told to others, for good.
"""

from collections import deque
from dataclasses import replace
from typing import Final

from kannon.core.payloads import Engagement
from kannon.core.tracking.machines import BURST

TOGETHER: Final = 1.0
"""Seconds within which a person does not follow two links."""
REMEMBERED: Final = 10.0
"""Seconds for which who was found out is known, after what it did last."""
MAX_HELD: Final = 5_000
"""Clicks held back, and readers remembered, at the most. What is beyond passes unjudged."""


class Bursts:
    """Judges clicks by those beside them. Seconds are of any clock that only goes forward."""

    def __init__(self) -> None:
        self._held: dict[str, deque[Engagement]] = {}
        self._order: deque[tuple[float, str, Engagement]] = deque()
        self._caught: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._order)

    def judge(self, reader: str, click: Engagement, now: float) -> list[Engagement]:
        """Take a click, and give those whose judgement is done by it: often none.

        Args:
            reader: whoever it is that follows links: a Delivery, or as much as is known.
        """
        if self._caught.get(reader, now) > now:
            self._remember(reader, now)
            return [replace(click, machine=BURST)]
        if len(self._order) >= MAX_HELD:
            return [click]
        beside = self._held.setdefault(reader, deque())
        beside.append(click)
        if beside[0].url != click.url:  # those that are held are of one link, or they would not be
            self._remember(reader, now)
            return [replace(one, machine=BURST) for one in self._held.pop(reader)]
        self._order.append((now + TOGETHER, reader, click))
        return []

    def passed(self, now: float) -> list[Engagement]:
        """Those beside which there was no other for long enough."""
        found = []
        while self._order and self._order[0][0] <= now:
            _, reader, click = self._order.popleft()
            held = self._held.get(reader)
            if held and held[0] is click:  # not one that was found out meanwhile
                found.append(held.popleft())
                if not held:
                    del self._held[reader]
        self._forget(now)
        return found

    def all(self) -> list[Engagement]:
        """All that are held, for there is no time left."""
        return self.passed(float("inf"))

    def _remember(self, reader: str, now: float) -> None:
        self._caught.pop(reader, None)  # so that the order is that in which they are forgotten
        if len(self._caught) < MAX_HELD:
            self._caught[reader] = now + REMEMBERED

    def _forget(self, now: float) -> None:
        while self._caught:
            reader = next(iter(self._caught))
            if self._caught[reader] > now:
                return
            del self._caught[reader]
