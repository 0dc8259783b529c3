"""What the edge decides about a submitted Envelope, and how it tells a result."""

from datetime import UTC, datetime

import pytest

from edge_smtp.attempts import AttemptId, Decision, Result, Standing, State, decide
from kannon.core.payloads import Delivered, Emitted, Refused
from kannon.core.replies import Stage
from kannon.ports import SubmitVerdict
from tests.edge_samples import an_envelope

BORN = 1_000


def decided(known: Standing | None, room: bool = True, **envelope: int) -> Decision:
    return decide(an_envelope(**envelope), known, has_room=room, born_at_ms=BORN)  # type: ignore[arg-type]


def test_a_new_one_is_taken_if_there_is_room() -> None:
    assert decided(None) == Decision(
        SubmitVerdict.TAKEN, standing=Standing(1, 1, 0, State.TAKEN), is_new=True
    )
    assert decided(None, room=False).verdict is SubmitVerdict.UNTAKEN


@pytest.mark.parametrize("state", list(State))
def test_the_same_emission_again_changes_nothing(state: State) -> None:
    assert decided(Standing(1, 1, 0, state), room=False) == Decision(SubmitVerdict.TAKEN)


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (State.TAKEN, State.TAKEN),
        (State.INTENT, State.INTENT),
        (State.RESULT, State.RESULT),
        (State.PUBLISHED, State.RESULT),
    ],
)
def test_another_emission_is_never_transmitted_but_told_of(state: State, after: State) -> None:
    decision = decided(Standing(1, 1, 1, state), room=False, emission=4)
    assert decision == Decision(SubmitVerdict.TAKEN, standing=Standing(1, 4, 1, after))


@pytest.mark.parametrize("state", list(State))
def test_an_earlier_attempt_is_refused(state: State) -> None:
    assert decided(Standing(3, 1, 0, state), attempt=2).verdict is SubmitVerdict.REFUSED


@pytest.mark.parametrize(
    ("state", "room", "verdict"),
    [
        (State.TAKEN, False, SubmitVerdict.TAKEN),
        (State.INTENT, True, SubmitVerdict.UNTAKEN),
        (State.RESULT, True, SubmitVerdict.UNTAKEN),
        (State.PUBLISHED, True, SubmitVerdict.TAKEN),
        (State.PUBLISHED, False, SubmitVerdict.UNTAKEN),
    ],
)
def test_a_later_attempt(state: State, room: bool, verdict: SubmitVerdict) -> None:
    decision = decided(Standing(1, 5, 1, state), room=room, attempt=2)
    assert decision.verdict is verdict
    if verdict is SubmitVerdict.TAKEN:
        assert decision.standing == Standing(2, 1, 1, State.TAKEN)


@pytest.mark.parametrize(
    ("emission", "first", "ambiguities"), [(1, BORN - 1, 1), (1, BORN, 0), (2, BORN - 1, 1), (2, BORN, 0)]
)
def test_a_lost_journal_may_have_transmitted(emission: int, first: int, ambiguities: int) -> None:
    decision = decided(None, emission=emission, first_emitted_at_ms=first)
    assert decision.standing is not None
    assert decision.standing.ambiguities == ambiguities


def test_a_result_as_an_event() -> None:
    attempt = AttemptId(7, 1, 2)
    at = datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)
    emitted = Emitted(7, 1, 2, 3)
    delivered = Result(1_700_000_000_500, "", 250, "2.0.0", "ok", "mx", 1)
    assert delivered.event(attempt, 3) == Delivered(emitted, at, 250, "2.0.0", "ok", "mx", 1)
    refused = Result(1_700_000_000_500, "dot", 554, "5.7.1", "spam", "mx", 0)
    assert refused.event(attempt, 3) == Refused(emitted, at, Stage.DOT, 554, "5.7.1", "spam", "mx", 0)
