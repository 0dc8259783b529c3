"""What waits, by destination: fair between them, and careful with exchangers that are slow or do not answer.

A slot is what is scarce, and a transmission that takes a thousand times as long costs a thousand times as
much of it. So destinations stand in one of three lines (`hosts.Line`), and take turns in each:

- exchangers that are slow or failed share half of the slots, however many they are;
- together with those that nobody knows yet they have three quarters;
- what slow ones hold beyond their half, since nobody knew that they were slow when it began, does not count:
  it costs a connection and no work, and others get as many slots in its place. MOST_TIMES bounds it.

An exchanger begins with two transmissions at once, whatever the domains; each that it answers allows one
more, one that it fails puts it back to a single one. Nothing is begun for one that is suspended, but for its
probe. Nothing here asks a clock, or waits.
"""

import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar

from edge_smtp.health import Patience
from edge_smtp.hosts import FIRST_LIMIT, FORGIVEN_AFTER, Host, Hosts, Line, Typical
from kannon.core.exchangers import Exchanger

Destination = tuple[Exchanger, ...]
T = TypeVar("T")

_LINES: Final = tuple(Line)
MOST_TIMES: Final = 10
"""How many times the slots may be under way, all that is stuck included; the last of them for the prompt."""
OVERDUE: Final = 1.0
"""Seconds below which no transmission under way counts as slow."""


class Elsewhere(Enum):
    """Whether there is another exchanger for a transmission whose exchanger failed."""

    FOUND = "found"
    BUSY = "busy"
    NONE = "none"


@dataclass(slots=True, eq=False)
class Queue(Generic[T]):
    """What waits for one destination.

    Attributes:
        ways: its exchangers, a group for each preference, the best first.
        hosts: all of them.
        in_line: whether it stands in a line. Else, if something waits, it waits for one of its hosts.
    """

    destination: Destination
    ways: Sequence[Sequence[Host]]
    hosts: Sequence[Host]
    waiting: deque[T] = field(default_factory=deque)
    running: int = 0
    in_line: bool = False

    @property
    def held(self) -> int:
        """How much of it there is."""
        return len(self.waiting) + self.running


@dataclass(slots=True, eq=False)
class Turn(Generic[T]):
    """One transmission, from `take` to `done`.

    Attributes:
        host: the exchanger it goes to; None between two of them.
        tried: those that failed it.
    """

    queue: Queue[T]
    item: T
    host: Host | None
    is_probe: bool
    began: float
    tried: tuple[Host, ...] = ()

    @property
    def exchanger(self) -> Exchanger:
        """The one it goes to."""
        assert self.host is not None
        return self.host.exchanger


class Outlook(NamedTuple):
    """How it stands with a destination.

    Attributes:
        held: how much there is of it.
        line: where it stands; None if all its exchangers are suspended.
        seconds: until the first of them is probed, or else until all of it is worked off.
    """

    held: int
    line: Line | None
    seconds: float


class DestinationQueues(Generic[T]):
    """Decides what is transmitted next, and to which exchanger. Times are seconds of one clock.

    Args:
        slots: how much may be under way at once.
        per_exchanger: how much of it to one exchanger.
        told: hears of each exchanger that is suspended, and of each that is no longer.
        spread: from 0.0 up to 1.0, anything.
        choose: one of several exchangers of the same preference (RFC 5321 §5.1).
    """

    def __init__(
        self,
        slots: int,
        per_exchanger: int,
        patience: Patience | None = None,
        told: Callable[[Host], None] = lambda _: None,
        spread: Callable[[], float] = random.random,
        choose: Callable[[Sequence[Host]], Host] = random.choice,
    ) -> None:
        self._slots = slots
        self._per_exchanger = per_exchanger
        self._first_limit = min(FIRST_LIMIT, per_exchanger)
        self._patience = patience or Patience()
        self._told = told
        self._spread = spread
        self._choose = choose
        self._for_slow = max(1, slots // 2)
        self._for_all_but_prompt = max(1, slots * 3 // 4)
        self._queues: dict[Destination, Queue[T]] = {}
        self._lines: tuple[deque[Queue[T]], ...] = tuple(deque() for _ in Line)
        self._next = 0
        self._running = [0 for _ in Line]
        self._turns: dict[Turn[T], None] = {}  # the one that began first comes first
        self._waiting = 0
        self._typical = Typical()
        self.hosts = Hosts(self._first_limit)

    def __len__(self) -> int:
        """How much waits."""
        return self._waiting

    @property
    def running(self) -> int:
        """How much is under way."""
        return len(self._turns)

    def queues(self) -> Iterator[Queue[T]]:
        """All that hold something."""
        return iter(self._queues.values())

    def waiting(self) -> Iterator[T]:
        """All that waits."""
        return (item for queue in self._queues.values() for item in queue.waiting)

    def items(self) -> Iterator[T]:
        """All that waits or is under way."""
        return chain(self.waiting(), (turn.item for turn in self._turns))

    def waiting_for_suspended(self, now: float) -> Counter[Host]:
        """How much waits for each exchanger since all of its destination's are suspended."""
        waiting: Counter[Host] = Counter()
        for queue in self._queues.values():
            if not self._usable(queue, now):
                for host in queue.hosts:
                    waiting[host] += len(queue.waiting)
        return waiting

    def put(self, destination: Destination, item: T, now: float) -> None:
        """Let `item` wait for its turn."""
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = self._made(destination)
        queue.waiting.append(item)
        self._waiting += 1
        if len(queue.waiting) == 1 and not queue.in_line:
            self._line_up(queue, now)

    def _made(self, destination: Destination) -> Queue[T]:
        groups: dict[int, list[Host]] = {}
        for exchanger in destination:
            groups.setdefault(exchanger.preference, []).append(self.hosts.of(exchanger))
        ways = tuple(tuple(groups[preference]) for preference in sorted(groups))
        queue: Queue[T] = Queue(destination, ways, tuple(host for group in ways for host in group))
        for host in queue.hosts:
            host.destinations += 1
        return queue

    def take(self, now: float) -> Turn[T] | None:
        """What is to be transmitted now; None if nothing may be. Its end must be told with `done`."""
        while (line := self._next_line()) is not None:
            queue = self._lines[line].popleft()
            queue.in_line = False
            host = self._host_for(queue, now, line) if queue.waiting else None
            turn = self._turn(queue, host, now) if host is not None else None
            if queue.waiting and not queue.in_line:
                self._line_up(queue, now)
            if host is None or len(queue.hosts) > 1:
                for other in queue.hosts:  # it may have been called for one that it does not go to
                    if other.waiting:
                        self._wake(other, now)
            if turn is not None:
                return turn
        return None

    def _turn(self, queue: Queue[T], host: Host, now: float) -> Turn[T]:
        turn = Turn(queue, queue.waiting.popleft(), host, False, now)
        self._waiting -= 1
        queue.running += 1
        self._begin(turn, host, now)
        return turn

    def answered(self, turn: Turn[T], now: float) -> None:
        """Its exchanger answered it as far as the mail itself."""
        host = self._leave(turn)
        seconds = now - turn.began
        self._typical.learn(seconds)
        slow = self._typical.slow
        if seconds > 4 * slow:
            seconds = 4 * slow  # so that it is not held against it for ever
        host.seconds += (seconds - host.seconds) * (0.2 if host.seconds else 1.0)
        host.seen = now
        if host.limit < self._per_exchanger:
            host.limit += 1
        is_slow = host.seconds > (slow / 2 if host.line is Line.SLOW else slow)
        self._move(host, Line.SLOW if is_slow else Line.PROMPT, now)
        if host.health.failures and host.health.succeeded():
            del self.hosts.suspended[host]
            self._told(host)
        if host.waiting:
            self._wake(host, now)

    def failed(self, turn: Turn[T], reason: str, now: float) -> None:
        """Its exchanger was not reached, or broke off; `reason` names no recipient."""
        host = self._leave(turn)
        host.seen = now
        host.limit = 1
        self._move(host, Line.SLOW, now)
        if host.health.failed(reason, now, self._patience, is_probe=turn.is_probe, spread=self._spread):
            self.hosts.suspended[host] = None
            self._told(host)
            self._look_elsewhere(host, now)
        self._wake(host, now)

    def ended(self, turn: Turn[T], now: float) -> None:
        """It ended, and says nothing of its exchanger."""
        host = self._leave(turn)
        host.health.unknown(is_probe=turn.is_probe)
        self._wake(host, now)

    def elsewhere(self, turn: Turn[T], now: float) -> Elsewhere:
        """Let a transmission whose exchanger has just failed go to another one, if there is one."""
        pool = self._usable(turn.queue, now, turn.tried)
        free = [host for host in pool if host.running < host.limit]
        if free:
            self._begin(turn, self._choose(free), now)
            return Elsewhere.FOUND
        return Elsewhere.BUSY if pool else Elsewhere.NONE

    def done(self, turn: Turn[T], now: float) -> None:
        """A transmission has ended; what came of it was told before."""
        if turn.host is not None:
            self.ended(turn, now)
        queue = turn.queue
        queue.running -= 1
        if not queue.held:
            self._drop(queue)

    def look_around(self, now: float) -> None:
        """What time alone changes: whose suspension is over, and who has become slow. Call it often."""
        for host in list(self.hosts.suspended):
            if host.waiting and host.health.may_be_tried(now):
                self._wake(host, now)
        late: Counter[Host] = Counter()
        overdue = max(OVERDUE, self._typical.slow)
        for turn in self._turns:
            if now - turn.began < overdue:
                break
            if turn.host is not None:
                late[turn.host] += 1
        for host, count in late.items():
            if 2 * count >= host.running and host.line is not Line.SLOW:
                host.seconds = max(host.seconds, overdue)
                host.seen = now
                self._move(host, Line.SLOW, now)

    def remove(self, is_over: Callable[[T], bool]) -> list[T]:
        """Take out all that wait and are over. Their place in a line is given up when its turn comes."""
        removed: list[T] = []
        for queue in list(self._queues.values()):
            over = [item for item in queue.waiting if is_over(item)]
            if over:
                removed += over
                queue.waiting = deque(item for item in queue.waiting if not is_over(item))
                if not queue.held:
                    self._drop(queue)
        self._waiting -= len(removed)
        return removed

    def outlook(self, destination: Destination, now: float) -> Outlook:
        """How it stands with `destination`."""
        queue = self._queues.get(destination)
        if queue is None:
            return Outlook(0, Line.NEW, 0.0)
        pool = self._usable(queue, now)
        if not pool:
            back = min(host.health.until for host in queue.hosts) - now
            return Outlook(queue.held, None, max(0.0, back))
        at_once = min(sum(host.limit for host in pool), self._slots)
        seconds = max(host.seconds for host in pool) * queue.held / at_once
        return Outlook(queue.held, _line_of(pool), seconds)

    def _begin(self, turn: Turn[T], host: Host, now: float) -> None:
        turn.host, turn.began, turn.is_probe = host, now, host.health.begin()
        host.running += 1
        self._running[host.line] += 1
        self._turns[turn] = None

    def _leave(self, turn: Turn[T]) -> Host:
        host = turn.host
        assert host is not None
        turn.host = None
        turn.tried = (*turn.tried, host)
        host.running -= 1
        self._running[host.line] -= 1
        del self._turns[turn]
        return host

    def _move(self, host: Host, line: Line, now: float) -> None:
        if line is host.line:
            return
        self._running[host.line] -= host.running
        self._running[line] += host.running
        host.line = line
        if line is Line.SLOW:
            self._look_elsewhere(host, now)

    def _look_elsewhere(self, host: Host, now: float) -> None:
        """What waits for `host` may have a better way now."""
        waiting, host.waiting = host.waiting, OrderedDict()
        for queue in waiting:
            if queue.waiting and not queue.in_line:
                self._line_up(queue, now)

    def _next_line(self) -> Line | None:
        prompt, new, slow = self._running
        slow_counted = min(slow, self._for_slow)
        all_of_them = prompt + new + slow
        if prompt + new + slow_counted >= self._slots or all_of_them >= MOST_TIMES * self._slots:
            return None
        for_others = (
            new + slow_counted < self._for_all_but_prompt and all_of_them < (MOST_TIMES - 1) * self._slots
        )
        has_room = (True, for_others, for_others and slow < self._for_slow)
        for step in range(3):
            line = (self._next + step) % 3
            if self._lines[line] and has_room[line]:
                self._next = (line + 1) % 3
                return _LINES[line]
        return None

    def _host_for(self, queue: Queue[T], now: float, line: Line) -> Host | None:
        """The exchanger that is next; None if none is free, or the queue belongs into another line."""
        pool = self._usable(queue, now)
        if not pool or _line_of(pool) is not line:
            return None
        free = [host for host in pool if host.running < host.limit]
        if len(free) > 1:
            return self._choose(free)
        return free[0] if free else None

    def _line_up(self, queue: Queue[T], now: float) -> bool:
        """Put it in the line of its exchangers, or let it wait for one of them."""
        pool = self._usable(queue, now)
        for host in pool:
            if host.running < host.limit:
                queue.in_line = True
                self._lines[_line_of(pool)].append(queue)
                return True
        for host in pool or queue.hosts:
            host.waiting[queue] = None
        return False

    def _usable(self, queue: Queue[T], now: float, tried: Sequence[Host] = ()) -> Sequence[Host]:
        """Of the best preference that has any, those that may be tried; without slow ones, if it can be."""
        for group in queue.ways:
            if len(group) == 1:
                host = group[0]
                if (not host.health.until or host.health.may_be_tried(now)) and host not in tried:
                    return group
                continue
            pool = [host for host in group if host.health.may_be_tried(now) and host not in tried]
            if pool:
                for host in pool:
                    self._forgive(host, now)
                return [host for host in pool if host.line is not Line.SLOW] or pool
        return ()

    def _forgive(self, host: Host, now: float) -> None:
        # Beside others it would get no more mail to show that it is not slow any longer.
        if host.line is Line.SLOW and not host.running and now - host.seen > FORGIVEN_AFTER:
            self._move(host, Line.NEW, now)
            host.limit, host.seconds = self._first_limit, 0.0

    def _wake(self, host: Host, now: float) -> None:
        """Put those that wait for `host` in line, as many as it has room for."""
        free = host.limit - host.running
        if free <= 0 or not host.waiting or not host.health.may_be_tried(now):
            return
        for _ in range(len(host.waiting)):
            queue, _ = host.waiting.popitem(last=False)
            if queue.waiting and not queue.in_line:
                free -= self._line_up(queue, now)
                if free <= 0:
                    return

    def _drop(self, queue: Queue[T]) -> None:
        del self._queues[queue.destination]
        for host in queue.hosts:
            host.destinations -= 1
            host.waiting.pop(queue, None)


def _line_of(pool: Sequence[Host]) -> Line:
    return pool[0].line if len(pool) == 1 else min(host.line for host in pool)
