"""When an exchanger is left alone, for how long, and what speaks of an exchanger rather than of a mail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_smtp.health import Health, Patience, failure_of
from kannon.core.replies import Refusal, Stage

PATIENCE = Patience(failures=3, first=10.0, longest=60.0)


def fail(health: Health, now: float, *, is_probe: bool = False, spread: float = 0.0) -> bool:
    return health.failed("connect: refused", now, PATIENCE, is_probe=is_probe, spread=lambda: spread)


def a_suspended_one(now: float = 0.0) -> Health:
    health = Health()
    for _ in range(3):
        fail(health, now)
    return health


def test_so_many_failures_in_a_row_suspend_it() -> None:
    health = Health()
    assert [fail(health, 5.0) for _ in range(3)] == [False, False, True]
    assert (health.failures, health.until, health.reason) == (3, 15.0, "connect: refused")
    assert [health.may_be_tried(now) for now in (5.0, 14.9, 15.0)] == [False, False, True]


def test_a_success_in_between_begins_the_count_anew() -> None:
    health = Health()
    fail(health, 0.0)
    fail(health, 0.0)
    assert not health.succeeded()
    assert not fail(health, 0.0)
    assert health.failures == 1


def test_one_probe_at_a_time() -> None:
    health = a_suspended_one()
    assert health.begin()
    assert not health.may_be_tried(100.0)
    health.unknown(is_probe=True)
    assert health.may_be_tried(100.0)


def test_each_probe_that_fails_doubles_the_wait_up_to_the_longest() -> None:
    health = a_suspended_one()
    waits = []
    for _ in range(5):
        now = health.until
        health.begin()
        assert fail(health, now, is_probe=True)
        waits.append(health.until - now)
    assert waits == [20.0, 40.0, 60.0, 60.0, 60.0]


def test_what_began_before_the_suspension_does_not_prolong_it() -> None:
    health = a_suspended_one()
    assert not fail(health, 3.0)
    assert (health.until, health.failures) == (10.0, 4)


def test_a_success_ends_it_at_once_and_the_next_suspension_is_a_first_one() -> None:
    health = a_suspended_one()
    health.begin()
    fail(health, 10.0, is_probe=True)
    assert health.succeeded()
    assert health.may_be_tried(10.0)
    assert a_suspended_one(10.0).until == 20.0
    for _ in range(3):
        fail(health, 10.0)
    assert health.until == 20.0


def test_waits_are_spread_downwards() -> None:
    health = a_suspended_one()
    health.begin()
    fail(health, 0.0, is_probe=True, spread=1.0)
    assert health.until == pytest.approx(16.0)


@given(st.lists(st.sampled_from(["try", "yes", "no", "neither", "wait"]), max_size=100))
def test_it_is_always_tried_again_within_the_longest_wait_and_by_one_while_suspended(
    steps: list[str],
) -> None:
    health, now = Health(), 0.0
    under_way: list[bool] = []
    for step in steps:
        if step == "wait":
            now += 7.0
        elif step == "try":
            if health.may_be_tried(now):
                under_way.append(health.begin())
        elif under_way:
            is_probe = under_way.pop()
            if step == "yes":
                health.succeeded()
                under_way = [False for _ in under_way]
            elif step == "no":
                fail(health, now, is_probe=is_probe)
            else:
                health.unknown(is_probe=is_probe)
        assert sum(under_way) <= 1
        assert health.until <= now + PATIENCE.longest
        assert health.is_probed == any(under_way)


def refused(stage: Stage, code: int, text: str = "no <bob@x.test> today") -> Refusal:
    return Refusal(stage, code, "", text)


@pytest.mark.parametrize(
    "refusal",
    [
        refused(Stage.CONNECT, 0, "refused"),
        refused(Stage.GREETING, 421, "busy"),
        refused(Stage.GREETING, 554, "closed"),
        refused(Stage.EHLO, 0, "no answer within 300 s"),
        refused(Stage.STARTTLS, 0, "broken"),
        refused(Stage.RCPT, 0, "the connection ended"),
        refused(Stage.MAIL, 421),
        refused(Stage.RCPT, 421),
        refused(Stage.DOT, 421),
    ],
)
def test_failures_of_an_exchanger_name_no_recipient(refusal: Refusal) -> None:
    reason = failure_of(refusal)
    assert reason.startswith(refusal.stage.value)
    assert "@" not in reason
    assert not refusal.code or str(refusal.code) in reason


@pytest.mark.parametrize(
    "refusal",
    [
        refused(Stage.MAIL, 451),
        refused(Stage.RCPT, 450),
        refused(Stage.RCPT, 550),
        refused(Stage.DATA, 451),
        refused(Stage.DOT, 554),
        refused(Stage.DNS, 0),
        refused(Stage.ADDRESS, 0),
        refused(Stage.EXPIRED, 0),
    ],
)
def test_answers_for_a_mail_are_no_failures(refusal: Refusal) -> None:
    assert failure_of(refusal) == ""
