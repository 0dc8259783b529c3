"""What a result means for a Delivery's row and which Outcome it is. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kannon.core.batches import Delivery, Outcome
from kannon.core.deliveries import Fact, Status, transition
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import (
    AnyPayload,
    Delivered,
    Emitted,
    EnvelopesUntaken,
    Judged,
    TransmissionsDelivered,
    TransmissionsJudged,
)
from kannon.core.retries import RetrySchedule, next_attempt_at

EXPIRED = "expired"
"""The category of what an edge did not transmit any more, for its time was over."""
_FACT_OF_VERDICT = {"deferred": Fact.DEFERRED, "bounced": Fact.BOUNCED, "failed": Fact.FAILED}


@dataclass(frozen=True, slots=True)
class RetryRules:
    """When to try again.

    Attributes:
        deferred: the waits of deferred Deliveries.
        untaken_wait: the wait before what an edge had no room for is offered again.
    """

    deferred: RetrySchedule
    untaken_wait: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Learnt:
    """One result, whatever event it came by.

    Attributes:
        wait: before what was untaken is offered again, if the edge asked for one.
    """

    emitted: Emitted
    fact: Fact
    at: datetime | None = None
    data: dict[str, Any] | None = None
    wait: timedelta = timedelta()

    @property
    def category(self) -> str:
        """Why it was not delivered, by the table of judgements."""
        return str((self.data or {}).get("category", ""))

    @property
    def is_answer(self) -> bool:
        """Whether it is what an exchanger said."""
        return bool((self.data or {}).get("code"))


@dataclass(frozen=True, slots=True)
class Decision:
    """The row as it is to be, and what is to be written of it."""

    after: Delivery
    outcomes: tuple[Outcome, ...]


def learnt_from(payload: AnyPayload) -> Sequence[Learnt]:
    """The results in an event.

    Raises:
        MalformedEvent: a kind of event that holds none, or a verdict that we do not know.
    """
    if isinstance(payload, TransmissionsDelivered):
        return [_learnt_delivered(item) for item in payload.transmissions]
    if isinstance(payload, TransmissionsJudged):
        return [_learnt_judged(item) for item in payload.judgements]
    if isinstance(payload, EnvelopesUntaken):
        wait = timedelta(milliseconds=payload.wait_ms)
        return [Learnt(emitted, Fact.UNTAKEN, wait=wait) for emitted in payload.emissions]
    raise MalformedEvent(f"stats does not take {payload.NAME}")


def _learnt_delivered(item: Delivered) -> Learnt:
    data = {
        "code": item.code,
        "enhanced": item.enhanced,
        "msg": item.text,
        "exchanger": item.exchanger,
        "ambiguities": item.ambiguities,
    }
    return Learnt(item.emitted, Fact.DELIVERED, item.at, data)


def _learnt_judged(item: Judged) -> Learnt:
    fact = _FACT_OF_VERDICT.get(item.verdict)
    if fact is None:
        raise MalformedEvent(f"verdict: {item.verdict!r} is none of {', '.join(_FACT_OF_VERDICT)}")
    refused = item.refused
    data = {
        "code": refused.code,
        "enhanced": refused.enhanced,
        "msg": refused.text,
        "exchanger": refused.exchanger,
        "stage": refused.stage.value,
        "category": item.category,
        "hard": item.hard,
        "ambiguities": refused.ambiguities,
    }
    return Learnt(refused.emitted, fact, refused.at, data)


def decide(
    delivery: Delivery, learnt: Learnt, rules: RetryRules, now: datetime, chance: float
) -> Decision | None:
    """What `learnt` changes, or None where it is late, repeated or foreign.

    Args:
        chance: from 0.0 up to 1.0; spreads waits.
    """
    standing = delivery.standing
    status = transition(standing, learnt.fact, learnt.emitted.attempt)
    if status is None:
        return None
    if learnt.fact is Fact.UNTAKEN:
        if learnt.emitted.emission != standing.emission:
            return None
        again = replace(standing, status=status, due_at=now + max(rules.untaken_wait, learnt.wait))
        return Decision(replace(delivery, standing=again), ())
    due_at = standing.due_at
    fact: Fact = learnt.fact
    answered = standing.answered or learnt.is_answer
    if learnt.fact is Fact.DEFERRED:
        wait = rules.deferred.wait_after(learnt.emitted.attempt, learnt.category, chance)
        next_at = next_attempt_at(now, wait, rules.deferred, standing.expires_at)
        if next_at is None:
            fact, status = _budget_spent(answered)
        due_at = next_at or due_at
    elif learnt.fact is Fact.FAILED and learnt.category == EXPIRED:
        fact, status = _budget_spent(answered)
    attempts = max(standing.attempts, learnt.emitted.attempt)
    after = replace(standing, status=status, attempts=attempts, emission=0, due_at=due_at, answered=answered)
    outcomes = (*_overtaken(delivery, now), _outcome(delivery, learnt, fact, now))
    return Decision(replace(delivery, standing=after), outcomes)


def _overtaken(delivery: Delivery, now: datetime) -> tuple[Outcome, ...]:
    """The `accepted` that dispatch published an Envelope for, but did not live to commit.

    Its verdict will find the Delivery moved on, and write nothing. Of one that was cancelled since, nobody
    knows any more whether it had its verdict: the ledger looks.
    """
    if delivery.standing.status not in (Status.ACCEPTED, Status.CANCELLED):
        return ()
    return (replace(delivery.outcome("accepted", 0, now, {}), only_first=True),)


def _budget_spent(answered: bool) -> tuple[Fact, Status]:
    return (Fact.BOUNCED, Status.BOUNCED) if answered else (Fact.FAILED, Status.FAILED)


def _outcome(delivery: Delivery, learnt: Learnt, fact: Fact, now: datetime) -> Outcome:
    data = dict(learnt.data or {})
    if fact is Fact.BOUNCED:
        data["permanent"] = learnt.fact is Fact.BOUNCED
    if fact is Fact.FAILED:
        data["reason"] = data.get("category", "failed")
    kind = "error" if fact is Fact.DEFERRED else fact.value
    return delivery.outcome(kind, learnt.emitted.attempt, learnt.at or now, data)
