"""Writes what readers did: opens and clicks into the statistics, unsubscriptions into suppression."""

import logging
from collections.abc import Sequence
from datetime import datetime

from functions.stats.suppressing import suppress_unsubscribed
from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import Act, Engagement
from kannon.core.suppression import SuppressionRules
from kannon.ports import LedgerWork

log = logging.getLogger(__name__)


async def write_engagements(
    work: LedgerWork, engagements: Sequence[Engagement], rules: SuppressionRules, now: datetime
) -> None:
    """Write each once, however often it comes."""
    await work.record_engagements(engagements, now)
    asked = [one for one in engagements if one.act is Act.UNSUBSCRIBED and one.seq is not None]
    if asked:
        await _unsubscribe(work, asked, rules, now)


async def _unsubscribe(
    work: LedgerWork, asked: Sequence[Engagement], rules: SuppressionRules, now: datetime
) -> None:
    new = await work.remember_engagements([one.id for one in asked], now)
    when = {DeliveryId(one.batch, one.seq or 0): one.at for one in asked if one.id in new}
    rows = await work.lock(sorted(when))
    found = await suppress_unsubscribed(work, [(row, when[row.id]) for row in rows], rules, now)
    if found < len(when):
        log.warning("whose address is gone cannot unsubscribe", extra={"count": len(when) - found})
