"""Unsubscribing: nobody is told that it is done before it cannot be lost any more."""

from datetime import datetime, timedelta
from typing import Final

from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import Act, Engagement, EngagementsSeen
from kannon.core.tracking.claims import Claims
from kannon.ports import EventPublisher

REPEATED_WITHIN: Final = timedelta(seconds=10)
"""So long after one unsubscription of a Delivery another one is the same."""
MAX_REMEMBERED: Final = 10_000


class Unsubscribing:
    """Publishes unsubscriptions."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher
        self._stored: dict[DeliveryId, datetime] = {}

    async def unsubscribe(self, claims: Claims, seq: int, now: datetime, new_id: str) -> None:
        """Unsubscribe the Recipient of a Delivery; done again it changes nothing.

        Who presses the button for ever fills no stream by it.

        Args:
            seq: of the Delivery.

        Raises:
            EventsUnavailable: it is not known to be stored.
        """
        delivery = DeliveryId(claims.batch, seq)
        self._forget(now)
        if delivery in self._stored:
            return
        engagement = Engagement(
            id=new_id,
            act=Act.UNSUBSCRIBED,
            mode=claims.mode,
            domain=claims.domain,
            batch=claims.batch,
            at=now,
            seq=seq,
        )
        await self._publisher.publish(EngagementsSeen((engagement,)))
        if len(self._stored) < MAX_REMEMBERED:
            self._stored[delivery] = now

    def _forget(self, now: datetime) -> None:
        while self._stored:
            oldest = next(iter(self._stored))
            # A clock that was set back forgets, too: to publish once more does no harm.
            if timedelta() <= now - self._stored[oldest] < REPEATED_WITHIN:
                return
            del self._stored[oldest]
