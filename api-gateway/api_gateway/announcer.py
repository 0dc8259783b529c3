"""Announces accepted Batches to verify, in the background: nobody's call waits for NATS.

What cannot be announced now (NATS is away, the stream is more than half full) stays unannounced in the
ledger, where the tick finds it. Large Batches are announced little by little and in turns, as fast as what
was announced before is worked off: what comes after them then has not much before it.
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
LARGE = 1000
"""Recipients; a Batch with more of them is announced in turns."""
CHUNKS_A_TURN = 8
LOOK_AGAIN = 0.2
"""Seconds until one looks again whether a large Batch may go on."""
MAX_WAITING = 500_000
"""Recipients that wait to be announced, all Batches together: what is beyond is left for the tick."""
NO_ROOM = "the verify stream has no room"

log = logging.getLogger(__name__)


class Announcer:
    """Publishes `batch.accepted` and marks what was published.

    Attributes:
        waiting: Recipients that are not announced yet.
    """

    def __init__(self, intake: Intake, events: EventPublisher, gauge: StreamGauge) -> None:
        self._intake = intake
        self._events = events
        self._gauge = gauge
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0
        self._turn = asyncio.Lock()
        self._stopping = False
        self._under_way: set[int] = set()

    def announce(self, batch: int, addresses: Sequence[str], traceparent: str) -> None:
        """Announce a committed Batch soon; returns at once.

        Args:
            batch: its number.
            addresses: its Recipients in the order of their Deliveries.
        """
        if not addresses:
            return
        if self.waiting and self.waiting + len(addresses) > MAX_WAITING:
            log.info("left for the tick", extra={"batch": batch, "reason": "too much waits"})
            return
        self.waiting += len(addresses)
        self._under_way.add(batch)
        task = asyncio.create_task(self._announce(batch, addresses, traceparent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drop(self, batch: int) -> None:
        """Announce no more of a Batch: it was cancelled."""
        self._under_way.discard(batch)

    async def close(self, seconds: float) -> None:
        """Finish what is under way, and leave the rest, and what large Batches still have, for the tick.

        Args:
            seconds: how long that may take.
        """
        self._stopping = True
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._gauge.close()

    async def _announce(self, batch: int, addresses: Sequence[str], traceparent: str) -> None:
        try:
            publish = self._publish_in_turns if len(addresses) > LARGE else self._publish_at_once
            reason = await publish(batch, addresses, traceparent)
        except (Unavailable, TimeoutError) as error:
            reason = str(error) or "NATS did not answer in time"
        except Exception:
            log.exception("announcing failed", extra={"batch": batch})
            return
        finally:
            self.waiting -= len(addresses)
            self._under_way.discard(batch)
        if reason:
            log.info("left for the tick", extra={"batch": batch, "reason": reason})

    async def _publish_at_once(self, batch: int, addresses: Sequence[str], traceparent: str) -> str:
        """Publish all chunks; gives back why not, if so."""
        for group in _groups(batch, addresses, CHUNKS_AT_ONCE):
            if not await self._gauge.has_room():
                return NO_ROOM
            await self._publish(group, traceparent)
        await self._intake.announced(batch, len(addresses))
        return ""

    async def _publish_in_turns(self, batch: int, addresses: Sequence[str], traceparent: str) -> str:
        """The same, little by little; whose turn it is waits until little else does."""
        for group in _groups(batch, addresses, CHUNKS_A_TURN):
            async with self._turn:
                if batch not in self._under_way:
                    return "it was cancelled"
                if not await self._may_go_on():
                    return "the gateway stops"
                await self._publish(group, traceparent)
            await self._intake.announced(batch, group[-1].recipients[-1].seq + 1)
        return ""

    async def _may_go_on(self) -> bool:
        """Wait until little waits to be worked off; false if the gateway stops first."""
        while not self._stopping:
            if await self._gauge.little_waits():
                return True
            await asyncio.sleep(LOOK_AGAIN)
        return False

    async def _publish(self, group: Sequence[BatchAccepted], traceparent: str) -> None:
        async with asyncio.timeout(PUBLISH_SECONDS):
            await asyncio.gather(*(self._events.publish(chunk, traceparent) for chunk in group))


def _groups(batch: int, addresses: Sequence[str], size: int) -> Iterator[list[BatchAccepted]]:
    chunks = _chunks(batch, addresses)
    while group := list(islice(chunks, size)):
        yield group


def _chunks(batch: int, addresses: Sequence[str]) -> Iterator[BatchAccepted]:
    for start in range(0, len(addresses), MAX_CHUNK_ITEMS):
        chunk = enumerate(addresses[start : start + MAX_CHUNK_ITEMS], start)
        yield BatchAccepted(batch, 1, tuple(Candidate(seq, address) for seq, address in chunk))
