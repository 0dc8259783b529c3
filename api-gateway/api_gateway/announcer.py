"""Announces accepted Batches to verify, in the background: nobody's call waits for NATS.

What cannot be announced now (NATS is away, the stream is more than half full) stays unannounced in the
ledger, where the tick finds it.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from itertools import islice

from api_gateway.stream_gauge import StreamGauge
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import Unavailable
from kannon.core.payloads import BatchAccepted, Candidate
from kannon.ports import EventPublisher, Intake

CHUNKS_AT_ONCE = 16
PUBLISH_SECONDS = 10.0
MAX_WAITING = 500_000
"""Recipients that wait to be announced, all Batches together: what is beyond is left for the tick."""

log = logging.getLogger(__name__)


class Announcer:
    """Publishes `batch.accepted` and marks what was published."""

    def __init__(self, intake: Intake, events: EventPublisher, gauge: StreamGauge) -> None:
        self._intake = intake
        self._events = events
        self._gauge = gauge
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0

    def announce(self, batch: int, addresses: Sequence[str], traceparent: str) -> None:
        """Announce a committed Batch soon; returns at once.

        Args:
            batch: its number.
            addresses: its Recipients in the order of their Deliveries.
        """
        if not addresses:
            return
        if self._waiting and self._waiting + len(addresses) > MAX_WAITING:
            log.info(
                "left for the tick", extra={"batch": batch, "reason": "too much waits", "trace": traceparent}
            )
            return
        self._waiting += len(addresses)
        task = asyncio.create_task(self._announce(batch, addresses, traceparent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, seconds: float) -> None:
        """Finish what is under way, and leave the rest for the tick.

        Args:
            seconds: how long that may take.
        """
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._gauge.close()

    async def _announce(self, batch: int, addresses: Sequence[str], traceparent: str) -> None:
        try:
            reason = await self._publish(batch, addresses, traceparent)
            if not reason:
                await self._intake.announced(batch)
        except (Unavailable, TimeoutError) as error:
            reason = str(error) or "NATS did not answer in time"
        except Exception:
            log.exception("announcing failed", extra={"batch": batch, "trace": traceparent})
            return
        finally:
            self._waiting -= len(addresses)
        if reason:
            log.info("left for the tick", extra={"batch": batch, "reason": reason, "trace": traceparent})

    async def _publish(self, batch: int, addresses: Sequence[str], traceparent: str) -> str:
        """Publish all chunks; gives back why not, if so."""
        chunks = _chunks(batch, addresses)
        while group := list(islice(chunks, CHUNKS_AT_ONCE)):
            if not await self._gauge.has_room():
                return "the verify stream has no room"
            async with asyncio.timeout(PUBLISH_SECONDS):
                await asyncio.gather(*(self._events.publish(chunk, traceparent) for chunk in group))
        return ""


def _chunks(batch: int, addresses: Sequence[str]) -> Iterator[BatchAccepted]:
    for start in range(0, len(addresses), MAX_CHUNK_ITEMS):
        chunk = enumerate(addresses[start : start + MAX_CHUNK_ITEMS], start)
        yield BatchAccepted(batch, 1, tuple(Candidate(seq, address) for seq, address in chunk))
