"""Fakes of ports, in memory. Each keeps to the contract suite of its port."""

from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import AnyPayload
from kannon.events import type_of


class FakePublisher:
    """Keeps what is published; the same event twice keeps its place, as a stream's deduplication has it.

    Attributes:
        away: refuse everything, as when NATS is away or a stream is full.
    """

    def __init__(self) -> None:
        self.payloads: list[AnyPayload] = []
        self.traces: list[str] = []
        self.away = False
        self._known: dict[str, int] = {}

    async def publish(self, payload: AnyPayload, traceparent: str = "") -> int:
        """See `ports.EventPublisher`."""
        if self.away:
            raise EventsUnavailable("away")
        identity = f"{type_of(payload)} {payload.identity()}"
        if identity not in self._known:
            self.payloads.append(payload)
            self.traces.append(traceparent)
            self._known[identity] = len(self.payloads)
        return self._known[identity]
