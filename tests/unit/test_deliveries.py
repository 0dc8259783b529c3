"""The table of transitions, read as sentences."""

from datetime import UTC, datetime, timedelta

import pytest

from kannon.core.deliveries import TRANSITIONS, DeliveryId, Fact, Standing, Status, transition

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def standing(status: Status, attempts: int = 0) -> Standing:
    return Standing(status, attempts, 1, NOW, NOW + timedelta(hours=24))


def test_the_table_answers_for_every_status_and_every_fact() -> None:
    assert set(TRANSITIONS) == {(status, fact) for status in Status for fact in Fact}


@pytest.mark.parametrize("status", [status for status in Status if status.is_terminal])
@pytest.mark.parametrize("fact", list(Fact))
def test_nothing_moves_a_delivery_that_has_ended_but_that_a_cancelled_one_was_delivered(
    status: Status, fact: Fact
) -> None:
    is_late = (status, fact) == (Status.CANCELLED, Fact.DELIVERED)
    assert transition(standing(status), fact, 1) is (Status.DELIVERED if is_late else None)


def test_what_is_on_its_way_is_not_cancelled() -> None:
    assert {s for s in Status if transition(standing(s), Fact.CANCELLED)} == {
        Status.ACCEPTED,
        Status.SCHEDULED,
    }
    assert transition(standing(Status.SCHEDULED, attempts=2), Fact.CANCELLED) is Status.CANCELLED


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.SCHEDULED, Status.SENDING, Status.CANCELLED])
def test_delivered_counts_whichever_attempt_it_was_of(status: Status) -> None:
    assert transition(standing(status, attempts=3), Fact.DELIVERED, 1) is Status.DELIVERED


@pytest.mark.parametrize("fact", [Fact.DEFERRED, Fact.BOUNCED, Fact.FAILED])
def test_a_refusal_counts_only_for_the_current_attempt(fact: Fact) -> None:
    now_at = standing(Status.SENDING, attempts=1)
    assert transition(now_at, fact, 1) is None
    assert transition(now_at, fact, 2) is not None
    assert transition(now_at, fact, 3) is None


def test_a_result_may_outrun_the_commit_of_the_dispatch_that_caused_it() -> None:
    assert transition(standing(Status.ACCEPTED), Fact.DELIVERED, 1) is Status.DELIVERED
    assert transition(standing(Status.SCHEDULED), Fact.BOUNCED, 1) is Status.BOUNCED


def test_a_verdict_is_taken_only_while_it_is_waited_for() -> None:
    takers = [status for status in Status if transition(standing(status), Fact.VERIFIED)]
    assert takers == [Status.ACCEPTED]


@pytest.mark.parametrize("text", ["", "1", "1.", ".2", "1.2.3", "a.b", "-1.2", "1.-2"])
def test_a_delivery_is_named_by_two_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="batch"):
        DeliveryId.parse(text)


def test_a_delivery_comes_back_from_its_name() -> None:
    assert DeliveryId.parse(str(DeliveryId(12, 345))) == DeliveryId(12, 345)
