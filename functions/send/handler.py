"""send: hand Envelopes to the edge they are pinned to."""

import logging

from kannon.core.errors import MalformedEvent
from kannon.core.failpoints import passing
from kannon.core.payloads import AnyPayload, Emitted, EnvelopesReady, EnvelopesUntaken
from kannon.ports import EdgeClient, EventPublisher, SubmitVerdict

log = logging.getLogger(__name__)


class Send:
    """Submits chunks; what the edge has no room for goes back to the ledger."""

    def __init__(self, edge: EdgeClient, publisher: EventPublisher) -> None:
        self._edge = edge
        self._publisher = publisher

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Submit a chunk; once it is answered, the edge's journal owns what was taken."""
        if not isinstance(payload, EnvelopesReady):
            raise MalformedEvent(f"send does not take {payload.NAME}")
        answers = await self._edge.submit(payload.edge, payload.envelopes)
        answered = list(zip(payload.envelopes, answers, strict=True))
        # A refused Envelope is of an Attempt that the ledger has left behind, or its seal is broken: it must
        # not be sent, and if the Delivery is still owed, its lease brings it back.
        for envelope, answer in answered:
            if answer.verdict is SubmitVerdict.REFUSED:
                log.warning("the edge refused an Envelope", extra={"delivery": str(envelope.delivery)})
        untaken: dict[int, list[Emitted]] = {}
        for envelope, answer in answered:
            if answer.verdict is SubmitVerdict.UNTAKEN:
                delivery = envelope.delivery
                emitted = Emitted(delivery.batch, delivery.seq, envelope.attempt, envelope.emission)
                untaken.setdefault(answer.wait_ms, []).append(emitted)
        if untaken:
            passing("send.answered")
        for wait_ms, emissions in untaken.items():
            await self._publisher.publish(EnvelopesUntaken(tuple(emissions), wait_ms), traceparent)
