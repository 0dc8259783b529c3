"""Whose turn it is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_smtp.queues import FIRST_LIMIT, DestinationQueues

Queues = DestinationQueues[str, int]


def filled(slots: int, each: int, **waiting: int) -> Queues:
    queues = Queues(slots, each)
    for key, count in waiting.items():
        for number in range(count):
            queues.put(key, number)
    return queues


def take_all(queues: Queues) -> Counter[str]:
    taken: Counter[str] = Counter()
    while (following := queues.take()) is not None:
        taken[following[0]] += 1
    return taken


def answering(queues: Queues, key: str, times: int = 20) -> None:
    """Let `key` answer until it may have all it can."""
    for number in range(times):
        queues.put(key, -number)
    for _ in range(times):
        following = queues.take()
        assert following is not None
        queues.done(following[0], True)


def test_an_empty_one_gives_nothing() -> None:
    assert Queues(1, 1).take() is None


def test_in_order_within_a_destination() -> None:
    queues = filled(1, 1, a=3)
    order = []
    for _ in range(3):
        following = queues.take()
        assert following is not None
        order.append(following[1])
        queues.done("a", True)
    assert order == [0, 1, 2]
    assert (len(queues), queues.running, queues.take()) == (0, 0, None)


def test_destinations_take_turns() -> None:
    queues = filled(1, 1, a=100, b=2, c=1)
    order = ""
    for _ in range(6):
        following = queues.take()
        assert following is not None
        order += following[0]
        queues.done(following[0], True)
    assert set(order[:5]) == {"a", "b", "c"}
    assert Counter(order) == {"a": 3, "b": 2, "c": 1}


def test_a_new_destination_begins_with_two() -> None:
    assert take_all(filled(20, 20, a=10)) == {"a": FIRST_LIMIT}


def test_one_that_answers_gets_more_up_to_its_limit() -> None:
    queues = filled(20, 5, a=50)
    for _ in range(10):
        queues.take()
        queues.done("a", True)
    assert take_all(queues) == {"a": 5}


def test_one_that_does_not_answer_gets_one() -> None:
    queues = filled(20, 5, a=50)
    queues.take()
    queues.take()
    queues.done("a", False)
    queues.done("a", False)
    assert take_all(queues) == {"a": 1}


def test_the_silent_leave_slots_to_those_that_answer() -> None:
    queues = filled(8, 8, good=30)
    answering(queues, "good", 10)
    for name in "abcdefgh":
        queues.put(name, 0)
        queues.put(name, 1)
    taken = take_all(queues)
    assert sum(count for name, count in taken.items() if name != "good") <= 6
    assert taken["good"] >= 2
    assert sum(taken.values()) == 8


def test_the_silent_alone_do_not_take_all_slots() -> None:
    assert sum(take_all(filled(8, 8, a=9, b=9, c=9, d=9, e=9)).values()) == 6


def test_a_single_slot_serves_everyone() -> None:
    assert sum(take_all(filled(1, 1, a=1, b=1)).values()) == 1


@pytest.mark.parametrize("reached", [True, False])
def test_what_ended_makes_room(reached: bool) -> None:
    queues = filled(1, 1, a=2)
    queues.take()
    assert queues.take() is None
    queues.done("a", reached)
    assert queues.take() == ("a", 1)


@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "take", "yes", "no"])), max_size=200),
)
def test_limits_hold_and_nothing_is_forgotten(slots: int, each: int, steps: list[tuple[str, str]]) -> None:
    queues = Queues(slots, each)
    running: Counter[str] = Counter()
    put = 0
    for key, step in steps:
        if step == "put":
            queues.put(key, put)
            put += 1
        elif step == "take":
            following = queues.take()
            if following is not None:
                running[following[0]] += 1
        elif running[key]:
            running[key] -= 1
            queues.done(key, step == "yes")
        assert queues.running == sum(running.values()) <= slots
        assert max(running.values(), default=0) <= each
    waiting = len(queues)
    for key in running.elements():
        queues.done(key, True)
    emptied = 0
    while (following := queues.take()) is not None:
        emptied += 1
        queues.done(following[0], False)
    assert emptied == waiting
    assert len(queues) == 0
