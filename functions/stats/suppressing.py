"""Suppresses addresses for what happened, in the transaction that writes what happened."""

from collections.abc import Sequence
from datetime import datetime

from kannon.core.batches import Outcome
from kannon.core.suppression import Reason, SuppressionRules, decide, happening_of
from kannon.ports import LedgerWork


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
