"""What must hold after every fault (design: I1 to I6), checked over what all three sides know. No I/O."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Delivery = tuple[int, int]
"""Batch and number in it."""

SETTLED_WITHIN: Final = 60.0
"""Seconds in which the system recovers by itself (I5)."""
FINAL: Final = frozenset({"delivered", "bounced", "failed", "rejected", "cancelled"})
_REPORTS: Final = frozenset({"complained"})
_TRANSMITTED: Final = frozenset({"delivered", "bounced", "failed"})


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One Outcome, as the statistics have it."""

    delivery: Delivery
    type: str
    attempt: int
    ambiguities: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What ledger, statistics and sink know of a tenant when all has settled.

    Attributes:
        accepted: Deliveries that calls were answered to have accepted, each idempotency key once.
        keys: idempotency keys that were used.
        batches: Batches in the ledger.
        statuses: of all Deliveries in the ledger.
        counted: Outcomes by type, as the API counts them.
        copies: messages whose final dot the sink has seen, and that it did not refuse.
        settled_seconds: from the end of the fault until nothing was owed any more; None if that did not come.
    """

    accepted: int
    keys: int
    batches: int
    statuses: Mapping[Delivery, str]
    outcomes: Sequence[OutcomeRow]
    counted: Mapping[str, int]
    copies: Mapping[Delivery, int]
    settled_seconds: float | None = None
    allowed_seconds: float = SETTLED_WITHIN
    _ambiguities: dict[Delivery, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for row in self.outcomes:
            known = self._ambiguities.get(row.delivery, 0)
            self._ambiguities[row.delivery] = max(known, row.ambiguities)

    def repeats(self, delivery: Delivery) -> int:
        """How many extra copies of a Delivery are accounted for: 1 at the most, or 0.

        The ambiguity that ends in `failed: unconfirmed` is told, too, and is no repeat.
        """
        return min(1, self._ambiguities.get(delivery, 0))

    @property
    def ambiguous(self) -> int:
        """Deliveries that may have been delivered twice, as the system says."""
        return sum(self.repeats(delivery) for delivery in self.statuses)

    @property
    def extra(self) -> int:
        """Copies beyond the first of each Delivery."""
        return sum(count - 1 for count in self.copies.values() if count > 1)

    @property
    def missing(self) -> int:
        """Deliveries that were accepted and reached no end."""
        return self.accepted - sum(status in FINAL for status in self.statuses.values())


def violations(found: Evidence) -> list[str]:
    """What does not hold, in words; empty where all does."""
    rules = (_ends_once, _copies, _delivered, _counts, _recovery, _keys)
    return [text for rule in rules for text in rule(found)]


def _ends_once(found: Evidence) -> Iterator[str]:
    if len(found.statuses) != found.accepted:
        yield f"I1: {found.accepted} accepted, {len(found.statuses)} in the ledger"
    owed = Counter(status for status in found.statuses.values() if status not in FINAL)
    if owed:
        yield f"I1: still owed: {_shown(owed)}"
    ends: Counter[Delivery] = Counter(row.delivery for row in found.outcomes if row.type in FINAL)
    wrong = [one for one, status in found.statuses.items() if status in FINAL and ends[one] != 1]
    if wrong:
        yield f"I1: not exactly one final outcome: {_some(wrong)}"
    told = {row.delivery: row.type for row in found.outcomes if row.type in FINAL}
    other = [one for one, status in found.statuses.items() if one in told and told[one] != status]
    if other:
        yield f"I1: ledger and outcome differ: {_some(other)}"
    accepted: Counter[Delivery] = Counter(row.delivery for row in found.outcomes if row.type == "accepted")
    unsaid = [one for one, status in found.statuses.items() if status in _TRANSMITTED and accepted[one] != 1]
    if unsaid:
        yield f"I1: not accepted exactly once: {_some(unsaid)}"
    reports = Counter((row.delivery, row.type) for row in found.outcomes if row.type in _REPORTS)
    if more := [one for (one, _), count in reports.items() if count > 1]:
        yield f"I1: more than one report of a kind: {_some(more)}"


def _copies(found: Evidence) -> Iterator[str]:
    many = [one for one, count in found.copies.items() if count > 1 + found.repeats(one)]
    if many:
        yield f"I2: more copies than 1 + ambiguous: {_some(many)}"
    delivered = {row.delivery for row in found.outcomes if row.type == "delivered" and row.ambiguities > 1}
    if delivered:
        yield f"I2: delivered after more than one ambiguity: {_some(sorted(delivered))}"
    if foreign := sorted(found.copies.keys() - found.statuses.keys()):
        yield f"I2: copies of what the ledger does not know: {_some(foreign)}"


def _delivered(found: Evidence) -> Iterator[str]:
    without = [
        one for one, status in found.statuses.items() if status == "delivered" and not found.copies.get(one)
    ]
    if without:
        yield f"I3: delivered, and no copy at the sink: {_some(without)}"
    despite = [
        one
        for one, status in found.statuses.items()
        if status in FINAL - {"delivered"} and found.copies.get(one) and not found.repeats(one)
    ]
    if despite:
        yield f"I3: a copy at the sink, and not delivered: {_some(despite)}"


def _counts(found: Evidence) -> Iterator[str]:
    counted = {kind: count for kind, count in found.counted.items() if count}
    rows = Counter(row.type for row in found.outcomes)
    if counted != rows:
        yield f"I4: the API counts {_shown(counted)}, the outcomes are {_shown(rows)}"
    ledger = Counter(status for status in found.statuses.values() if status in FINAL)
    told = {kind: count for kind, count in counted.items() if kind in FINAL}
    if told != ledger:
        yield f"I4: the API counts {_shown(told)}, the ledger has {_shown(ledger)}"
    at_sink = sum(found.copies.values()) - found.extra
    in_doubt = sum(
        bool(found.copies.get(one)) for one, status in found.statuses.items() if status != "delivered"
    )
    if at_sink - in_doubt != counted.get("delivered", 0):
        delivered = counted.get("delivered", 0)
        yield f"I4: {at_sink} Deliveries at the sink, {delivered} counted, {in_doubt} in doubt"


def _recovery(found: Evidence) -> Iterator[str]:
    if found.settled_seconds is None:
        yield f"I5: not settled within {found.allowed_seconds:g} s"
    elif found.settled_seconds > found.allowed_seconds:
        yield f"I5: settled after {found.settled_seconds:.1f} s, {found.allowed_seconds:g} are allowed"


def _keys(found: Evidence) -> Iterator[str]:
    if found.batches != found.keys:
        yield f"I6: {found.keys} idempotency keys, {found.batches} Batches"


def _some(deliveries: Sequence[Delivery]) -> str:
    named = ", ".join(f"{batch}.{seq}" for batch, seq in deliveries[:3])
    return f"{named} and {len(deliveries) - 3} more" if len(deliveries) > 3 else named


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())) or "nothing"
