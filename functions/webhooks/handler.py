"""webhooks: writes down which endpoints are owed which events."""

from datetime import datetime, timedelta

import msgspec

from functions.webhooks.posting import Posting
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import AnyPayload, OutcomeFact, Outcomes
from kannon.core.public_events import BY_OUTCOME, public_event
from kannon.ports import Clock, WebhookEvent, WebhookQueue

KEEP_EVERY = timedelta(seconds=10)


class Webhooks:
    """Owes and keeps; the posting has a pace of its own.

    Args:
        posting: is told that something may be due.
    """

    def __init__(self, queue: WebhookQueue, posting: Posting, clock: Clock) -> None:
        self._queue = queue
        self._posting = posting
        self._clock = clock
        self._keep_at: datetime | None = None

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Write what is owed of a chunk of Outcomes; where no webhook wants them, that is one look."""
        del traceparent  # each Outcome has its own
        if not isinstance(payload, Outcomes):
            raise MalformedEvent(f"webhooks does not take {payload.NAME}")
        kind = BY_OUTCOME.get(payload.outcome)
        if kind is None:
            return  # not one that is public, such as a newer version's
        domains = {fact.domain for fact in payload.facts}
        wanting = await self._queue.wanting(domains, kind.type)
        events = [_event(payload.outcome, fact) for fact in payload.facts if fact.domain in wanting]
        if events:
            await self._queue.owe(kind.type, events, self._clock())
            self._posting.nudge()

    async def tick(self) -> None:
        """Post what is due; now and then give up and forget what has had its time."""
        self._posting.nudge()
        now = self._clock()
        if self._keep_at is None or now >= self._keep_at:
            self._keep_at = now + KEEP_EVERY
            await self._queue.keep(now)


def _event(outcome: str, fact: OutcomeFact) -> WebhookEvent:
    event = public_event(outcome, fact)
    body = msgspec.json.encode(event.structured()).decode()
    return WebhookEvent(fact.domain, event.id, fact.recipient, body, fact.at)
