"""Exchangers as the edge knows them: how they fare, how fast they are, how much goes to them at once."""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from edge_smtp.health import Health
from kannon.core.exchangers import Exchanger

FIRST_LIMIT: Final = 2
MAX_KNOWN: Final = 10_000
"""Exchangers that are remembered though nothing waits for them."""
FORGIVEN_AFTER: Final = 60.0
"""Seconds after which one that was slow or failed, and is not suspended, counts as one nobody knows."""


class Line(IntEnum):
    """In which line mail for an exchanger waits for a slot."""

    PROMPT = 0  # it answered lately, about as fast as most
    NEW = 1  # nobody knows yet
    SLOW = 2  # it takes many times as long as most, or its last transmission failed


@dataclass(slots=True, eq=False)
class Host:
    """One exchanger (host and port), whatever domains it serves.

    Attributes:
        limit: transmissions that it may have at once; grows by one with each answer.
        seconds: that a transmission takes, of late; 0.0 if none was answered.
        seen: when it last answered or failed.
        waiting: destinations that wait for a connection to it, or for the end of its suspension.
        destinations: how many know it.
    """

    exchanger: Exchanger
    health: Health = field(default_factory=Health)
    line: Line = Line.NEW
    running: int = 0
    limit: int = FIRST_LIMIT
    seconds: float = 0.0
    seen: float = 0.0
    waiting: OrderedDict[Any, None] = field(default_factory=OrderedDict)
    destinations: int = 0


class Hosts:
    """All of them: those in use, and a bounded number of others.

    Attributes:
        suspended: those that are.

    Args:
        first_limit: transmissions that one nobody knows may have at once.
    """

    def __init__(self, first_limit: int = FIRST_LIMIT) -> None:
        self._first_limit = first_limit
        self.suspended: dict[Host, None] = {}
        self._known: dict[tuple[str, int], Host] = {}
        self._forget_at = MAX_KNOWN

    def __len__(self) -> int:
        return len(self._known)

    def of(self, exchanger: Exchanger) -> Host:
        """The one; made if it is not known."""
        key = (exchanger.host, exchanger.port)
        host = self._known.get(key)
        if host is None:
            if len(self._known) >= self._forget_at:
                self._forget()
            host = self._known[key] = Host(exchanger, limit=self._first_limit)
        return host

    def _forget(self) -> None:
        # Whom nobody waits for: first those that are in good health, then the eldest of the others.
        idle = [key for key, host in self._known.items() if not host.destinations]
        idle.sort(key=lambda key: self._known[key].health.failures > 0)
        for key in idle[: max(len(self._known) - MAX_KNOWN * 3 // 4, 0)]:
            self.suspended.pop(self._known.pop(key), None)
        self._forget_at = max(MAX_KNOWN, len(self._known) + MAX_KNOWN // 4)


class Typical:
    """How long most transmissions take: a median that follows what is measured.

    Each that took longer raises it a little, each that took less lowers it: those that end often, the prompt
    ones, have the say. It stays in bounds: nobody is slow below SLOW_SECONDS, and everybody above SLOW_TIMES
    MOST_TYPICAL.

    Attributes:
        slow: from how many seconds on an exchanger is slow.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slow = SLOW_SECONDS

    def learn(self, seconds: float) -> None:
        """A transmission took so long."""
        if not self.seconds:
            self.seconds = seconds
        self.seconds *= 1.05 if seconds > self.seconds else 0.952
        self.seconds = min(max(self.seconds, LEAST_TYPICAL), MOST_TYPICAL)
        self.slow = max(SLOW_SECONDS, SLOW_TIMES * self.seconds)


SLOW_TIMES: Final = 8.0
SLOW_SECONDS: Final = 0.5
LEAST_TYPICAL: Final = 0.001
MOST_TYPICAL: Final = 1.0
