"""Whose turn it is, in a time of the tests' own."""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_smtp.health import Patience
from edge_smtp.hosts import FIRST_LIMIT, Host, Hosts
from edge_smtp.queues import Destination, DestinationQueues, Elsewhere, Turn
from kannon.core.exchangers import Exchanger

Queues = DestinationQueues[int]
NEVER = Patience(failures=10**6)


def to(*names: str) -> Destination:
    """A destination: one exchanger after the other, those with a `/` between them of one preference."""
    return tuple(Exchanger(rank, host, 25) for rank, group in enumerate(names) for host in group.split("/"))


def queues_of(slots: int, each: int, patience: Patience = NEVER) -> Queues:
    return Queues(slots, each, patience, spread=lambda: 0.0)


def filled(slots: int, each: int, **waiting: int) -> Queues:
    queues = queues_of(slots, each)
    for name, count in waiting.items():
        for number in range(count):
            queues.put(to(name), number, 0.0)
    return queues


def end(queues: Queues, turn: Turn[int], reached: bool, now: float = 0.0) -> None:
    if reached:
        queues.answered(turn, now)
    else:
        queues.failed(turn, "connect: refused", now)
    queues.done(turn, now)


def take(queues: Queues, now: float = 0.0) -> Turn[int]:
    turn = queues.take(now)
    assert turn is not None
    return turn


def take_all(queues: Queues, now: float = 0.0) -> list[Turn[int]]:
    return list(iter(lambda: queues.take(now), None))


def hosts(turns: list[Turn[int]]) -> Counter[str]:
    return Counter(turn.exchanger.host for turn in turns)


def answering(queues: Queues, name: str, times: int = 20, seconds: float = 0.0) -> None:
    """Let `name` answer until it may have all it can."""
    for number in range(times):
        queues.put(to(name), -number, 0.0)
        end(queues, take(queues), True, seconds)


def test_an_empty_one_gives_nothing() -> None:
    assert queues_of(1, 1).take(0.0) is None


def test_in_order_within_a_destination() -> None:
    queues = filled(1, 1, a=3)
    order = []
    for _ in range(3):
        turn = take(queues)
        order.append(turn.item)
        end(queues, turn, True)
    assert order == [0, 1, 2]
    assert (len(queues), queues.running, queues.take(0.0), list(queues.queues())) == (0, 0, None, [])


def test_destinations_take_turns() -> None:
    queues = filled(1, 1, a=100, b=2, c=1)
    order = ""
    for _ in range(9):
        turn = take(queues)
        order += turn.exchanger.host
        end(queues, turn, True)
    assert set(order[:6]) == {"a", "b", "c"}
    assert Counter(order) == {"a": 6, "b": 2, "c": 1}


def test_a_new_exchanger_begins_with_two() -> None:
    assert hosts(take_all(filled(20, 20, a=10))) == {"a": FIRST_LIMIT}


def test_one_that_answers_gets_more_up_to_its_limit() -> None:
    queues = filled(20, 5, a=50)
    for _ in range(10):
        end(queues, take(queues), True)
    assert hosts(take_all(queues)) == {"a": 5}


def test_one_that_fails_gets_one() -> None:
    queues = filled(20, 5, a=50)
    for turn in take_all(queues):
        end(queues, turn, False)
    assert hosts(take_all(queues)) == {"a": 1}


def test_the_limit_is_the_exchangers_however_many_destinations_share_it() -> None:
    queues = queues_of(20, 3)
    answering(queues, "shared", 5)
    for n in range(10):
        for number in range(3):
            queues.put(to(f"shared/own{n}"), number, 0.0)
            queues.put(to("shared", f"backup{n}"), number, 0.0)
    taken = hosts(take_all(queues))
    assert taken["shared"] == 3


def test_those_nobody_knows_leave_slots_to_those_that_answer() -> None:
    queues = queues_of(8, 8)
    answering(queues, "good", 10)
    for n in range(30):
        queues.put(to("good"), n, 0.0)
    for name in "abcdefgh":
        queues.put(to(name), 0, 0.0)
    taken = hosts(take_all(queues))
    assert sum(count for name, count in taken.items() if name != "good") <= 6
    assert taken["good"] >= 2
    assert sum(taken.values()) == 8


def test_those_nobody_knows_do_not_take_all_slots() -> None:
    assert len(take_all(filled(8, 8, **dict.fromkeys("abcdefgh", 9)))) == 6


def test_those_that_failed_do_not_take_more_than_half() -> None:
    queues = queues_of(8, 8)
    for name in "abcdef":
        queues.put(to(name), 0, 0.0)
        end(queues, take(queues), False)
    for name in "abcdef":
        queues.put(to(name), 0, 0.0)
    assert len(take_all(queues)) == 4


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_few_slots_serve_everyone(slots: int) -> None:
    queues = filled(slots, 1, a=2, b=2)
    served = 0
    while turns := take_all(queues):
        for turn in turns:
            end(queues, turn, served % 2 == 0)
            served += 1
    assert served == 4


@pytest.mark.parametrize("reached", [True, False])
def test_what_ended_makes_room(reached: bool) -> None:
    queues = filled(1, 1, a=2)
    turn = take(queues)
    assert queues.take(0.0) is None
    end(queues, turn, reached)
    assert take(queues).item == 1


def test_the_best_preference_is_tried_and_equals_share() -> None:
    queues = queues_of(100, 50)
    for n in range(40):
        queues.put(to("a/b", "backup"), n, 0.0)
    taken: Counter[str] = Counter()
    for _ in range(40):
        turn = take(queues)
        taken[turn.exchanger.host] += 1
        end(queues, turn, True)
    assert set(taken) == {"a", "b"}


def test_a_transmission_whose_exchanger_fails_goes_to_the_next() -> None:
    queues = queues_of(4, 4)
    queues.put(to("a/b", "backup"), 1, 0.0)
    turn = take(queues)
    tried = [turn.exchanger.host]
    for _ in range(2):
        queues.failed(turn, "connect: refused", 0.0)
        assert queues.elsewhere(turn, 0.0) is Elsewhere.FOUND
        tried.append(turn.exchanger.host)
    assert (sorted(tried[:2]), tried[2]) == (["a", "b"], "backup")
    queues.failed(turn, "connect: refused", 0.0)
    assert queues.elsewhere(turn, 0.0) is Elsewhere.NONE
    queues.done(turn, 0.0)
    assert queues.running == 0


def test_the_next_exchanger_may_be_busy() -> None:
    queues = queues_of(8, 1)
    queues.put(to("backup"), 0, 0.0)
    busy = take(queues)
    queues.put(to("a", "backup"), 1, 0.0)
    turn = take(queues)
    queues.failed(turn, "connect: refused", 0.0)
    assert queues.elsewhere(turn, 0.0) is Elsewhere.BUSY
    queues.done(turn, 0.0)
    end(queues, busy, True)


def suspended(queues: Queues, name: str, now: float = 0.0) -> None:
    for number in range(3):
        queues.put(to(name), number, now)
        end(queues, take(queues, now), False, now)


def test_a_suspended_exchanger_is_probed_by_one_and_comes_back() -> None:
    told: list[tuple[str, bool]] = []

    def tell(host: Host) -> None:
        told.append((host.exchanger.host, host.health.until > 0))

    queues = Queues(8, 8, Patience(3, 10.0, 1800.0), tell, spread=lambda: 0.0)
    suspended(queues, "a")
    for number in range(20):
        queues.put(to("a"), number, 1.0)
    queues.look_around(9.9)
    assert take_all(queues, 9.9) == []
    queues.look_around(10.0)
    (probe,) = take_all(queues, 10.0)
    queues.look_around(15.0)
    assert take_all(queues, 15.0) == []
    end(queues, probe, False, 16.0)  # the next after twice as long
    queues.look_around(35.9)
    assert take_all(queues, 35.9) == []
    queues.look_around(36.0)
    (probe,) = take_all(queues, 36.0)
    end(queues, probe, True, 36.1)
    assert len(take_all(queues, 36.1)) == FIRST_LIMIT
    assert told == [("a", True), ("a", True), ("a", False)]
    assert not queues.hosts.suspended


def test_a_probe_that_says_nothing_is_followed_by_another() -> None:
    queues = queues_of(8, 8, Patience(3, 10.0, 1800.0))
    suspended(queues, "a")
    queues.put(to("a"), 1, 0.0)
    queues.put(to("a"), 2, 0.0)
    queues.look_around(10.0)
    queues.done(take(queues, 10.0), 10.0)
    assert take(queues, 10.0).is_probe


def test_only_the_healthy_exchangers_of_a_domain_are_tried() -> None:
    queues = queues_of(8, 8, Patience(3, 10.0, 1800.0))
    suspended(queues, "a")
    for number in range(5):
        queues.put(to("a", "backup"), number, 0.0)
        turn = take(queues, 1.0)
        assert turn.exchanger.host == "backup"
        end(queues, turn, True, 1.0)


def test_what_is_over_is_taken_out_also_of_the_suspended() -> None:
    queues = queues_of(8, 8, Patience(3, 10.0, 1800.0))
    suspended(queues, "a")
    for number in range(6):
        queues.put(to("a"), number, 0.0)
        queues.put(to("b"), number, 0.0)
    assert sorted(queues.remove(lambda item: item < 4)) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(queues) == 4
    assert [turn.item for turn in take_all(queues)] == [4, 5]


def test_a_bounded_number_of_exchangers_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_smtp.hosts.MAX_KNOWN", 100)
    queues = queues_of(4, 4)
    queues.hosts = Hosts()
    queues.hosts._forget_at = 100
    for n in range(1000):
        queues.put(to(f"h{n}"), n, 0.0)
        end(queues, take(queues), n % 2 == 0)
    assert len(queues.hosts) <= 100


@dataclass
class Simulation:
    """Transmissions that take their exchanger's time; every destination always has more to send."""

    slots: int
    each: int
    seconds: dict[str, float]
    now: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    busiest: int = 0

    def __post_init__(self) -> None:
        self.queues = queues_of(self.slots, self.each)
        self._ends: list[tuple[float, int, Turn[int]]] = []
        self._number = itertools.count()
        self._looked = 0.0

    def run(self, until: float) -> None:
        for name in self.seconds if not self.now else ():
            for number in range(20):
                self.queues.put(to(name), number, self.now)
        while self.now < until:
            for turn in take_all(self.queues, self.now):
                name = turn.exchanger.host
                self.queues.put(to(name), 0, self.now)
                heapq.heappush(self._ends, (self.now + self.seconds[name], next(self._number), turn))
            self.busiest = max(self.busiest, self.queues.running)
            self._step(until)

    def _step(self, until: float) -> None:
        looks = self._looked + 0.25
        if self._ends and self._ends[0][0] <= min(looks, until):
            self.now, _, turn = heapq.heappop(self._ends)
            self.sent[turn.exchanger.host] += 1
            end(self.queues, turn, True, self.now)
        else:
            self.now = self._looked = looks
            self.queues.look_around(self.now)

    def rate(self, names: list[str], since: float, until: float) -> float:
        """Mails a second to `names` in that time."""
        self.run(since)
        before = sum(self.sent[name] for name in names)
        self.run(until)
        return (sum(self.sent[name] for name in names) - before) / (until - since)


QUICK = [f"quick{n}" for n in range(7)]
TARPITS = [f"tarpit{n}" for n in range(3)]


@pytest.mark.parametrize("slots", [10, 50])
@pytest.mark.parametrize(("quick", "slow"), [(0.05, 5.0), (0.1, 600.0), (1.0, 100.0)])
def test_three_of_ten_that_are_a_hundred_times_slower_leave_the_others_half_of_their_rate(
    slots: int, quick: float, slow: float
) -> None:
    since, until = 20, 20 + 200 * quick
    alone = Simulation(slots, 10, dict.fromkeys(QUICK, quick)).rate(QUICK, since, until)
    beside = Simulation(slots, 10, dict.fromkeys(QUICK, quick) | dict.fromkeys(TARPITS, slow))
    assert beside.rate(QUICK, since, until) >= alone / 2


@pytest.mark.parametrize("slots", [10, 50])
def test_prompt_ones_that_become_slow_with_all_slots_in_hand_leave_the_others_half(slots: int) -> None:
    alone = Simulation(slots, 10, dict.fromkeys(QUICK, 0.05)).rate(QUICK, 5, 15)
    beside = Simulation(slots, 10, dict.fromkeys(QUICK + TARPITS, 0.05))
    beside.run(10)
    beside.seconds |= dict.fromkeys(TARPITS, 600.0)
    assert beside.rate(QUICK, 13, 23) >= alone / 2
    assert beside.busiest <= 4 * slots


def test_sixty_tarpits_leave_the_others_half() -> None:
    tarpits = [f"tarpit{n}" for n in range(60)]
    alone = Simulation(20, 10, dict.fromkeys(QUICK, 0.05)).rate(QUICK, 5, 15)
    beside = Simulation(20, 10, dict.fromkeys(tarpits, 600.0) | dict.fromkeys(QUICK, 0.05))
    assert beside.rate(QUICK, 30, 40) >= alone / 2
    assert beside.busiest < 200


def test_one_exchanger_never_has_more_than_the_slots_there_are() -> None:
    alone = Simulation(10, 20, {"a": 0.05})
    alone.run(10)
    alone.seconds["a"] = 60.0
    alone.run(100)
    assert alone.busiest <= 10


def test_one_that_was_slow_gets_its_speed_back() -> None:
    beside = Simulation(10, 10, {"a": 0.05, "b": 20.0})
    beside.run(60)
    beside.seconds["b"] = 0.05
    assert beside.rate(["b"], 120, 140) > 80


DESTINATIONS = [to("a"), to("b"), to("a/b"), to("a", "c"), to("c/d", "a/b")]
STEPS = st.tuples(st.sampled_from(range(5)), st.sampled_from(["put", "take", "yes", "no", "wait", "expire"]))


@given(st.integers(1, 6), st.integers(1, 4), st.lists(STEPS, max_size=200))
def test_limits_hold_and_nothing_is_forgotten(slots: int, each: int, steps: list[tuple[int, str]]) -> None:
    queues = queues_of(slots, each, Patience(3, 10.0, 40.0))
    turns: list[Turn[int]] = []
    put, now, left = 0, 0.0, 0
    for which, step in steps:
        now += 0.1
        if step == "put":
            queues.put(DESTINATIONS[which], put, now)
            put += 1
            left += 1
        elif step == "take":
            turn = queues.take(now)
            if turn is not None:
                turns.append(turn)
        elif step == "wait":
            now += 7
            queues.look_around(now)
        elif step == "expire":
            left -= len(queues.remove(lambda item, which=which: item % 5 == which))  # type: ignore[misc]
        elif turns:
            turn = turns.pop(which % len(turns))
            end(queues, turn, step == "yes", now)
            left -= 1
        assert queues.running == len(turns) <= 10 * slots
        assert max(hosts(turns).values(), default=0) <= each
        assert len(queues) + len(turns) == left
    for turn in turns:
        end(queues, turn, True, now)
        left -= 1
    while left:
        now += 50.0  # whatever is suspended may be probed now
        queues.look_around(now)
        taken = take_all(queues, now)
        assert taken, "something waits, and nothing may be transmitted"
        for turn in taken:
            end(queues, turn, True, now)
        left -= len(taken)
    assert (len(queues), queues.running, list(queues.queues())) == (0, 0, [])
