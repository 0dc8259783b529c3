"""The way of one event: posted, waited out, tried again, split, buried, until it is settled."""

import logging
import re
import time
from collections.abc import Callable
from typing import Final

from kannon.adapters.nats.consumer import Pulled
from kannon.adapters.nats.dead_letters import RANGE, DeadLetters
from kannon.adapters.nats.streams import STREAMS
from kannon.core.answers import Answer
from kannon.core.errors import EventsUnavailable
from kannon.runtime.sink import Sink
from kannon.telemetry.catalogue import SOURCE_REQUESTS, SOURCE_SECONDS
from kannon.telemetry.tracing import Attributes, Kind, step, take_over
from nats_source.delivery import Action, Bury, Done, Pace, Part, Split, TryAgain, WaitOut, decide

_log = logging.getLogger(__name__)

_ACTIONS: Final = {Done: "done", WaitOut: "wait_out", TryAgain: "try_again", Split: "split", Bury: "bury"}
_STAGES: Final = {stream.name: stream.stage for stream in STREAMS}
_MAX_DIGITS: Final = 5
_WRITTEN_RANGE: Final = re.compile(rf"([0-9]{{1,{_MAX_DIGITS}}})-([0-9]{{1,{_MAX_DIGITS}}})")


class Passage:
    """One event on its way to its sink.

    Args:
        chance: gives numbers from 0.0 up to 1.0.
    """

    def __init__(
        self, event: Pulled, sink: Sink, dead_letters: DeadLetters, pace: Pace, chance: Callable[[], float]
    ) -> None:
        self.event = event
        self.was_waited_out = False
        self._sink = sink
        self._dead_letters = dead_letters
        self._pace = pace
        self._chance = chance
        self._whole = Part(0, _items_of(event))
        self._parts = [_asked_for(event, self._whole)]
        self._failures = 0
        self._waits = event.deliveries - 1
        # Redelivered events come before new ones, so they may not stay long a second time.
        self._waited = 0.0 if event.deliveries == 1 else pace.hold
        self._doom: Bury | None = None

    async def step(self) -> float | None:
        """Post the next part and do what the answer asks for.

        Returns:
            The seconds before the next step; None when the event is settled, or given back to its stream.
        """
        if self._doom:
            return await self._bury(self._doom)
        part = self._parts[-1]
        answer = await self._post(part)
        action = decide(answer, part, self._failures, self._waits, self._pace, self._chance())
        SOURCE_REQUESTS.add(1, _STAGES.get(self.event.stream, ""), _ACTIONS[type(action)])
        self.was_waited_out = isinstance(action, WaitOut)
        if not isinstance(action, Done | WaitOut):
            _log.warning("event failed", extra=self._about(answer.reason, action))
        return await self._act(action)

    async def _post(self, part: Part) -> Answer:
        stage = _STAGES.get(self.event.stream, "")
        headers, began = self.event.headers, time.perf_counter()
        attributes: Attributes = {
            "messaging.message.id": headers.get("ce-id", ""),
            "kannon.deliveries": self.event.deliveries,
        }
        given, is_root = take_over(headers.get("ce-traceparent", ""))
        with step(f"source {stage}", given, Kind.CLIENT, attributes, is_root=is_root) as span:
            answer = await self._sink.post(headers, self.event.data, self._said(part), span.traceparent)
        SOURCE_SECONDS.observe(time.perf_counter() - began, stage)
        return answer

    async def _act(self, action: Action) -> float | None:
        match action:
            case Done():
                return await self._go_on()
            case WaitOut(pause):
                return await self._wait_out(pause)
            case TryAgain(pause):
                self._failures += 1
                return pause
            case Split():
                self._parts[-1:] = reversed(self._parts[-1].halves())
                self._failures = 0
                return 0.0
            case Bury():
                return await self._bury(action)

    async def _go_on(self) -> float | None:
        self._parts.pop()
        self._failures = self._waits = 0
        self._waited = 0.0
        if self._parts:
            return 0.0
        await self.event.ack()
        return None

    async def _wait_out(self, pause: float) -> float | None:
        if self._waited >= self._pace.hold:
            await self.event.give_back(pause)
            return None
        self._waits += 1
        self._waited += pause
        return pause

    async def _bury(self, doom: Bury) -> float | None:
        item = self._item(self._parts[-1])
        try:
            await self._dead_letters.bury(self.event, reason=doom.reason, status=doom.status, item=item)
        except EventsUnavailable as error:
            _log.warning("no dead letter yet", extra=self._about(str(error), doom))
            self._doom = doom
            return self._pace.after_failure
        _log.error("dead letter", extra=self._about(doom.reason, doom))
        self._doom = None
        return await self._go_on()

    def _said(self, part: Part) -> str:
        return "" if part == self._whole else str(part)

    def _item(self, part: Part) -> str:
        if part.stop == 0:
            return ""
        return str(part) if part.is_divisible else str(part.start)

    def _about(self, reason: str, action: Action) -> dict[str, object]:
        return {
            "stream": self.event.stream,
            "seq": self.event.seq,
            "id": self.event.headers.get("ce-id", ""),
            "items": str(self._parts[-1]),
            "failures": self._failures + 1,
            "reason": reason,
            "action": type(action).__name__,
        }


def _items_of(event: Pulled) -> int:
    written = event.headers.get("ce-itemcount", "")
    is_count = written.isascii() and written.isdecimal() and len(written) <= _MAX_DIGITS
    return int(written) if is_count else 0


def _asked_for(event: Pulled, whole: Part) -> Part:
    """What is to be handled: all of the event, unless it was a dead letter of some of its items."""
    written = _WRITTEN_RANGE.fullmatch(event.headers.get(RANGE, ""))
    if not written:
        return whole
    part = Part(int(written[1]), int(written[2]))
    return part if part.start < part.stop <= whole.stop else whole
