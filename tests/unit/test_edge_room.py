"""How much of the edge's room a destination may hold."""

import pytest

from edge_smtp.health import Patience
from edge_smtp.queues import DestinationQueues
from edge_smtp.room import Room
from kannon.core.exchangers import Exchanger

CAPACITY = 40
Way = tuple[Exchanger, ...]


def to(name: str) -> Way:
    return (Exchanger(0, name),)


class Around:
    """Queues and the room beside them; whatever finds room is put."""

    def __init__(self) -> None:
        self.queues = DestinationQueues[int](10, 2, Patience(1, 100.0, 1800.0), spread=lambda: 0.0)
        self.room = Room(self.queues, CAPACITY)

    def offer(self, name: str, count: int) -> list[float]:
        """Offer so many; returns the waits of those that found no room."""
        waits = self.room.waits([to(name)] * count, 0.0)
        for number, wait in enumerate(waits):
            if wait is None:
                self.queues.put(to(name), number, 0.0)
        return [wait for wait in waits if wait is not None]

    def suspend(self, name: str) -> None:
        self.queues.put(to(name), 0, 0.0)
        turn = self.queues.take(0.0)
        assert turn is not None
        self.queues.failed(turn, "connect: refused", 0.0)
        self.queues.done(turn, 0.0)
        self.queues.put(to(name), 0, 0.0)

    def answer(self, name: str, seconds: float) -> None:
        self.queues.put(to(name), 0, 0.0)
        turn = self.queues.take(0.0)
        assert turn is not None
        self.queues.answered(turn, seconds)
        self.queues.put(to(name), 0, 0.0)
        self.queues.done(turn, 0.0)


@pytest.fixture
def around() -> Around:
    return Around()


def test_there_is_room_for_everyone_while_little_is_held(around: Around) -> None:
    around.offer("a", 9)
    assert around.room.is_ample
    around.offer("a", 1)
    assert not around.room.is_ample


def test_one_that_is_suspended_holds_a_quarter_and_asks_again_after_its_probe(around: Around) -> None:
    around.suspend("a")
    assert around.offer("a", 20) == [120.0] * 11
    assert around.offer("a", 1) == [120.0]


def test_one_that_nobody_knows_holds_a_quarter_and_asks_again_soon(around: Around) -> None:
    assert around.offer("a", 12) == [0.0] * 2


def test_one_that_answers_promptly_may_hold_it_all(around: Around) -> None:
    around.answer("a", 0.1)
    assert around.offer("a", CAPACITY) == []


def test_one_that_answers_but_has_minutes_of_work_left_may_not(around: Around) -> None:
    around.room = Room(around.queues, 400)
    around.answer("a", 6.0)
    assert around.offer("a", 99) == []
    assert around.offer("a", 2) == [360.0, 360.0]


def test_all_that_are_suspended_hold_half_and_leave_the_rest_to_others(around: Around) -> None:
    for name in "abcdefghijkl":
        around.suspend(name)
        around.offer(name, 5)
    held = sum(queue.held for queue in around.queues.queues())
    assert held <= CAPACITY // 2 + 12  # each was suspended by one that was already held
    assert around.offer("a", 5) != []
    assert around.offer("well", 5) == []


def test_one_whose_way_is_not_known_finds_room(around: Around) -> None:
    around.suspend("a")
    around.offer("a", 20)
    assert around.room.waits([None, None], 0.0) == [None, None]
