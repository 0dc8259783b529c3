"""The checker of the fault tests: what holds passes, and each thing that does not is told."""

from collections import Counter
from dataclasses import replace

import pytest

from faults.invariants import Delivery, Evidence, OutcomeRow, violations

ONE, TWO, THREE = (7, 0), (7, 1), (7, 2)


def rows(delivery: Delivery, kind: str, ambiguities: int = 0) -> list[OutcomeRow]:
    return [OutcomeRow(delivery, "accepted", 0), OutcomeRow(delivery, kind, 1, ambiguities)]


def evidence(*outcomes: OutcomeRow, **changes: object) -> Evidence:
    """Three Deliveries that ended well: delivered, delivered, bounced; or what is given instead."""
    told = list(outcomes) or [*rows(ONE, "delivered"), *rows(TWO, "delivered"), *rows(THREE, "bounced")]
    found = Evidence(
        accepted=3,
        keys=1,
        batches=1,
        statuses={ONE: "delivered", TWO: "delivered", THREE: "bounced"},
        outcomes=told,
        counted=Counter(row.type for row in told),
        copies={ONE: 1, TWO: 1},
        settled_seconds=3.0,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def broken(found: Evidence) -> set[str]:
    """Which invariants are told not to hold."""
    return {text.partition(":")[0] for text in violations(found)}


def test_all_well() -> None:
    assert violations(evidence()) == []
    assert (evidence().extra, evidence().ambiguous, evidence().missing) == (0, 0, 0)


def test_an_ambiguity_that_is_told_allows_one_more_copy() -> None:
    told = [*rows(ONE, "delivered", 1), *rows(TWO, "delivered"), *rows(THREE, "bounced")]
    found = evidence(*told, copies={ONE: 2, TWO: 1})
    assert violations(found) == []
    assert (found.extra, found.ambiguous) == (1, 1)
    assert broken(evidence(*told, copies={ONE: 3, TWO: 1})) == {"I2"}


def test_two_copies_that_ended_unconfirmed_are_in_doubt() -> None:
    told = [*rows(ONE, "failed", 2), *rows(TWO, "delivered"), *rows(THREE, "bounced")]
    statuses = {ONE: "failed", TWO: "delivered", THREE: "bounced"}
    assert violations(evidence(*told, statuses=statuses, copies={ONE: 2, TWO: 1})) == []
    assert violations(evidence(*told, statuses=statuses, copies={TWO: 1})) == []


@pytest.mark.parametrize(
    ("what", "found", "expected"),
    [
        ("a Delivery is lost", evidence(accepted=4), {"I1"}),
        (
            "one is still owed",
            evidence(statuses={ONE: "delivered", TWO: "sending", THREE: "bounced"}),
            {"I1", "I4"},
        ),
        ("an outcome is missing", evidence(*rows(ONE, "delivered"), *rows(THREE, "bounced")), {"I1", "I4"}),
        (
            "an outcome is there twice",
            evidence(
                *(*rows(ONE, "delivered"), *rows(TWO, "delivered"), *rows(THREE, "bounced")),
                OutcomeRow(ONE, "failed", 2),
            ),
            {"I1", "I4"},
        ),
        (
            "ledger and outcome differ",
            evidence(statuses={ONE: "delivered", TWO: "failed", THREE: "bounced"}),
            {"I1", "I3", "I4"},
        ),
        (
            "accepted is not told",
            evidence(OutcomeRow(ONE, "delivered", 1), *rows(TWO, "delivered"), *rows(THREE, "bounced")),
            {"I1"},
        ),
        (
            "two complaints",
            evidence(
                *(*rows(ONE, "delivered"), *rows(TWO, "delivered"), *rows(THREE, "bounced")),
                *(OutcomeRow(ONE, "complained", 0), OutcomeRow(ONE, "complained", 0)),
            ),
            {"I1"},
        ),
        ("a copy too many", evidence(copies={ONE: 2, TWO: 1}), {"I2"}),
        (
            "delivered after two ambiguities",
            evidence(*rows(ONE, "delivered", 2), *rows(TWO, "delivered"), *rows(THREE, "bounced")),
            {"I2"},
        ),
        ("a mail nobody asked for", evidence(copies={ONE: 1, TWO: 1, (9, 9): 1}), {"I2", "I4"}),
        ("delivered, and nowhere", evidence(copies={ONE: 1}), {"I3", "I4"}),
        ("bounced, and there", evidence(copies={ONE: 1, TWO: 1, THREE: 1}), {"I3"}),
        ("counted twice", evidence(counted={"accepted": 3, "delivered": 3, "bounced": 1}), {"I4"}),
        ("not counted", evidence(counted={"accepted": 3, "delivered": 1, "bounced": 1}), {"I4"}),
        ("too late", evidence(settled_seconds=61.0), {"I5"}),
        ("never", evidence(settled_seconds=None), {"I5"}),
        ("two Batches for one key", evidence(batches=2), {"I6"}),
    ],
)
def test_what_does_not_hold_is_told(what: str, found: Evidence, expected: set[str]) -> None:
    assert broken(found) == expected, what


def test_what_is_missing_is_counted() -> None:
    assert evidence(statuses={ONE: "delivered", TWO: "sending", THREE: "accepted"}).missing == 2
