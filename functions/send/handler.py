"""send: hand Envelopes to the edge they are pinned to."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from kannon.core.envelopes import Envelope, Rest
from kannon.core.errors import MalformedEvent, NoSuchObject, StoreUnavailable
from kannon.core.failpoints import passing
from kannon.core.payloads import AnyPayload, Emitted, EnvelopesReady, EnvelopesUntaken
from kannon.ports import EdgeClient, EventPublisher, ObjectStore, SubmitAnswer, SubmitVerdict

LOST = SubmitAnswer(SubmitVerdict.UNTAKEN, 5_000)
"""What is said of an Envelope whose rest is not in the store."""
_Answered = tuple[Envelope, SubmitAnswer]
log = logging.getLogger(__name__)


class Send:
    """Submits chunks; what the edge has no room for goes back to the ledger.

    Args:
        store: for what did not fit into events; None where none is set up.
    """

    def __init__(self, edge: EdgeClient, publisher: EventPublisher, store: ObjectStore | None = None) -> None:
        self._edge = edge
        self._publisher = publisher
        self._store = store
        self._large = asyncio.Lock()  # what is large is in memory once

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Submit a chunk; once it is answered, the edge's journal owns what was taken."""
        if not isinstance(payload, EnvelopesReady):
            raise MalformedEvent(f"send does not take {payload.NAME}")
        small = [envelope for envelope in payload.envelopes if envelope.rest is None]
        large = [envelope for envelope in payload.envelopes if envelope.rest is not None]
        answered = await self._submitted(payload.edge, small) if small else []
        if large:
            async with self._large:
                answered += await self._submitted_large(payload.edge, large)
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

    async def _submitted(self, edge: str, envelopes: Sequence[Envelope]) -> list[_Answered]:
        return list(zip(envelopes, await self._edge.submit(edge, envelopes), strict=True))

    async def _submitted_large(self, edge: str, envelopes: Sequence[Envelope]) -> list[_Answered]:
        """Submit them one by one; what is stored for several is fetched once."""
        answered: list[_Answered] = []
        for rest, group in groupby(envelopes, key=lambda envelope: envelope.rest):
            assert rest is not None, "only what has a rest is large"
            try:
                at_hand = await self._fetched(rest)
            except NoSuchObject:
                # dispatch stores it again with the next emission of the same Attempt.
                log.warning("what did not fit into an event is lost", extra={"object": rest.name})
                answered += [(envelope, LOST) for envelope in group]
                continue
            for envelope in group:
                answered += await self._submitted(edge, [replace(envelope, rest=at_hand)])
        return answered

    async def _fetched(self, rest: Rest) -> Rest:
        if self._store is None:
            raise StoreUnavailable("attachments.url (K_ATTACHMENTS_URL) names no attachment store")
        octets = await self._store.get(rest.name, rest.size + 1)
        return await asyncio.to_thread(rest.holding, octets)
