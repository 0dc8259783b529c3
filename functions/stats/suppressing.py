"""Suppresses addresses for what happened, in the transaction that writes what happened."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from kannon.core.batches import Delivery, Outcome
from kannon.core.suppression import (
    Reason,
    SuppressionRules,
    decide,
    happening_of,
    suppressed_for,
    unsubscribed,
)
from kannon.ports import LedgerWork


async def suppress_unsubscribed(
    work: LedgerWork, asked: Iterable[tuple[Delivery, datetime]], rules: SuppressionRules, now: datetime
) -> int:
    """Suppress the readers of these Deliveries, who unsubscribed at these times; returns how many that are:
    one whose address was erased cannot be found.

    Args:
        asked: each learnt for the first time.
    """
    happened = [one for delivery, at in asked if (one := unsubscribed(delivery, at))]
    if happened:
        await work.suppress([suppressed_for(one, rules) for one in happened], now)
    return len(happened)


async def suppress_for(
    work: LedgerWork, outcomes: Sequence[Outcome], rules: SuppressionRules, now: datetime
) -> None:
    """Write the suppressions that follow from Outcomes; where none does nothing is asked or written.

    Args:
        outcomes: all of the transaction at once, each learnt for the first time.
    """
    happenings = [happening for outcome in outcomes if (happening := happening_of(outcome))]
    soft = [one for one in happenings if one.reason is Reason.SOFT_BOUNCE]
    counts = await work.note_soft_bounces(soft, rules.soft_window) if soft and rules.soft_after else ()
    decided = [decide(one, rules) for one in happenings if one.reason is not Reason.SOFT_BOUNCE]
    decided += [decide(one, rules, count) for one, count in zip(soft, counts, strict=False)]
    if suppressions := [one for one in decided if one is not None]:
        await work.suppress(suppressions, now)
