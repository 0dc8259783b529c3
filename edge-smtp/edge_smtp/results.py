"""Publishes results: what the journal knows and NATS does not."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, TypeVar

from edge_smtp.journal import Journal
from edge_smtp.observing import BatchTraces
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import Unavailable
from kannon.core.failpoints import passing
from kannon.core.payloads import Delivered, Refused, TransmissionsDelivered, TransmissionsRefused
from kannon.ports import EventPublisher
from kannon.telemetry.tracing import Kind, onward, step, trace_id_of

_log = logging.getLogger(__name__)
T = TypeVar("T")

LINGER: Final = 0.02
LINGER_BUSY: Final = 0.1
"""Seconds for which results wait for company, and for which they do while there is much of it: a chunk costs
the stages behind about as much with 25 results as with 100."""
BUSY: Final = 20
"""From how many results at once on there is much of it."""
READ_AT_ONCE: Final = 1000
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0


class ResultPublisher:
    """Publishes results in chunks, and marks them in the journal; what fails is tried again for ever.

    Results are read from the journal, never kept: however long NATS is away, memory stays as it is.

    Args:
        traces: tells which trace results belong to.
    """

    def __init__(
        self, journal: Journal, publisher: EventPublisher, traces: BatchTraces | None = None
    ) -> None:
        self._traces = traces or BatchTraces()
        self._journal = journal
        self._publisher = publisher

    async def run(self) -> None:
        """Publish whatever comes, until cancelled."""
        pause = FIRST_PAUSE
        published = 0
        while True:
            await self._journal.results_waiting.wait()
            await asyncio.sleep(LINGER_BUSY if published >= BUSY else LINGER)
            try:
                published = await self.drain()
            except Exception as error:
                self._journal.results_waiting.set()
                away = isinstance(error, Unavailable)
                _log.warning("results wait", extra={"reason": str(error)}, exc_info=not away)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE

    async def drain(self) -> int:
        """Publish all that is there; what comes meanwhile waits for the next time.

        Returns:
            How many results that were.

        Raises:
            Unavailable: NATS or the journal is away; what was published is marked.
        """
        self._journal.results_waiting.clear()
        total, count = 0, READ_AT_ONCE
        while count == READ_AT_ONCE:
            results = await self._journal.unpublished(READ_AT_ONCE)
            count = len(results)
            total += count
            delivered = [result for result in results if isinstance(result, Delivered)]
            refused = [result for result in results if isinstance(result, Refused)]
            ends = await asyncio.gather(
                *(self._publish(TransmissionsDelivered(chunk)) for chunk in _chunks(delivered)),
                *(self._publish(TransmissionsRefused(chunk)) for chunk in _chunks(refused)),
                return_exceptions=True,
            )
            for end in ends:
                if end is not None:
                    raise end
        return total

    async def _publish(self, payload: TransmissionsDelivered | TransmissionsRefused) -> None:
        passing("edge.journalled")
        traces = self._traces.of({result.emitted.batch for result in payload.transmissions})
        given = traces[0] if len(set(map(trace_id_of, traces))) == 1 else ""
        attributes = {"messaging.batch.message_count": len(payload.transmissions)}
        with step("edge results", given, Kind.CLIENT, attributes):
            await self._publisher.publish(payload, onward(traces))
        await self._journal.mark_published([result.emitted for result in payload.transmissions])


def _chunks(results: Sequence[T]) -> list[tuple[T, ...]]:
    return [
        tuple(results[start : start + MAX_CHUNK_ITEMS]) for start in range(0, len(results), MAX_CHUNK_ITEMS)
    ]
