"""events: say each Outcome of a chunk to whoever wants to know, as an event of its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kannon.core.answers import Answer
from kannon.core.errors import MalformedEvent, SinkRefuses, Unavailable
from kannon.core.payloads import AnyPayload, Outcomes
from kannon.core.public_events import BY_OUTCOME, PublicEvent, public_event
from kannon.ports import EventSink

REMEMBERED: Final = 20_000
PATIENCE: Final = 20.0
"""Seconds after which no more events of a chunk are begun: it comes again, for what is left."""
_Posted = tuple[PublicEvent, Answer]


class Events:
    """Posts chunks. What was taken of one that is to come again is remembered while there is room, so that a
    sink which takes only some at a time is through some day. A restart forgets it, and repeats are harmless:
    an event's id is always the same.

    Args:
        concurrency: events that are under way at once, of all chunks.
        clock: seconds that nobody sets.
    """

    def __init__(
        self, sink: EventSink, concurrency: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._slots = asyncio.Semaphore(concurrency)
        self._clock = clock
        self._taken: dict[str, None] = {}

    async def handle(self, payload: AnyPayload, _traceparent: str) -> None:
        """Post a chunk's events.

        Raises:
            Unavailable: some were not taken, and will be another time.
            SinkRefuses: all others were taken.
        """
        if not isinstance(payload, Outcomes) or payload.outcome not in BY_OUTCOME:
            raise MalformedEvent("events takes outcomes, of the kinds that there are")
        events = [public_event(payload.outcome, fact) for fact in payload.facts]
        until = self._clock() + PATIENCE
        waiting = [event for event in events if event.id not in self._taken]
        posted = await asyncio.gather(*(self._post(event, until) for event in waiting))
        answered = [one for one in posted if one is not None]
        self._note(events, waiting, answered)
        _judge(answered, len(waiting))

    async def _post(self, event: PublicEvent, until: float) -> _Posted | None:
        async with self._slots:
            if self._clock() > until:
                return None
            headers = {f"ce-{name}": value for name, value in event.attributes().items()}
            headers["content-type"] = headers.pop("ce-datacontenttype")
            return event, await self._sink.post(headers, msgspec.json.encode(event.data))

    def _note(
        self, events: Sequence[PublicEvent], waiting: Sequence[PublicEvent], answered: Sequence[_Posted]
    ) -> None:
        """Remember what was taken, unless that is all."""
        taken = [event.id for event, answer in answered if answer.is_taken]
        if len(taken) == len(waiting):
            for event in events:
                self._taken.pop(event.id, None)
            return
        self._taken.update(dict.fromkeys(taken))
        while len(self._taken) > REMEMBERED:
            del self._taken[next(iter(self._taken))]


def _judge(answered: Sequence[_Posted], wanted: int) -> None:
    refused = [(event, answer) for event, answer in answered if answer.is_final]
    away = [answer for _, answer in answered if not (answer.is_taken or answer.is_final)]
    if away or len(answered) < wanted:
        reason = away[0].reason if away else "it is slow"
        wait = max((answer.retry_after for answer in away), default=0.0)
        raise Unavailable(f"the sink does not take events now: {reason}", retry_after=wait)
    if refused:
        event, answer = refused[0]
        raise SinkRefuses(f"the sink refuses {event.type} {event.id}: {answer.reason}")
