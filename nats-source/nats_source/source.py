"""A route: pulls the events of one stage and carries them to its sink, several at once."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from kannon.adapters.nats.consumer import Lane, PullConsumer, Pulled
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.runtime.sink import Sink
from nats_source.delivery import Pace
from nats_source.passage import Passage

_log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 20.0
_HELD_PER_SLOT: Final = 16
"""Events in hand for each request that may be open; the others are being waited out. With 4 requests and the
largest chunks that makes 45 MB."""


class Route:
    """The way from a stage's stream to its sink.

    Args:
        concurrency: requests at once.
        keep_every: seconds after which NATS is told that the events in hand are still worked on; well below
            the ack wait.
        chance: gives numbers from 0.0 up to 1.0.
    """

    def __init__(
        self,
        consumer: PullConsumer,
        sink: Sink,
        dead_letters: DeadLetters,
        *,
        concurrency: int,
        pace: Pace,
        keep_every: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._consumer = consumer
        self._sink = sink
        self._dead_letters = dead_letters
        self._pace = pace
        self._keep_every = keep_every
        self._chance = chance
        self._lanes = [consumer.lane() for _ in range(concurrency)]
        self._slots = asyncio.Semaphore(concurrency)
        self._room = asyncio.Semaphore(concurrency * _HELD_PER_SLOT)
        self._stopping = asyncio.Event()
        self._pulls_no_more = asyncio.Event()
        self._pulling: set[asyncio.Task[None]] = set()
        self._parked: set[asyncio.Task[None]] = set()
        self._held: dict[tuple[int, int], Pulled] = {}
        self._is_refused = False

    @property
    def is_bound(self) -> bool:
        """Whether its consumer is there."""
        return self._consumer.is_bound

    @property
    def in_hand(self) -> int:
        """Events that were pulled and are not settled."""
        return len(self._held)

    async def run(self, stopping: asyncio.Event, grace: float = GRACE_SECONDS) -> None:
        """Carry events until `stopping` is set, then finish what is under way.

        Args:
            grace: seconds for that; what is not done by then is given back.
        """
        workers = {asyncio.create_task(self._work(lane)) for lane in self._lanes}
        keeper = asyncio.create_task(self._keep_alive())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({*workers, keeper, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            await self._finish(workers, grace)
            keeper.cancel()
        for task in (keeper, *workers):
            if task.done() and not task.cancelled():
                task.result()

    async def _finish(self, workers: set[asyncio.Task[None]], grace: float) -> None:
        self._stopping.set()
        for task in self._pulling:
            task.cancel()
        await asyncio.gather(*(lane.close() for lane in self._lanes))
        self._pulls_no_more.set()
        _, late = await asyncio.wait({*workers, *self._parked}, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _work(self, lane: Lane) -> None:
        task = asyncio.current_task()
        assert task
        while not self._stopping.is_set():
            self._pulling.add(task)
            await self._room.acquire()
            event = await lane.next()
            self._pulling.discard(task)
            await self._take_up(event)

    async def _take_up(self, event: Pulled) -> None:
        if event.key in self._held:
            # NATS was away for longer than the ack wait; we have it still.
            self._held[event.key].answer_as(event)
            self._room.release()
            return
        self._held[event.key] = event
        passage = Passage(event, self._sink, self._dead_letters, self._pace, self._chance)
        pause = await self._step(passage)
        if event.deliveries == 1:
            self._note(passage.was_waited_out)
        if pause is not None and self._stopping.is_set():
            await self._hand_back(event)
            pause = None
        if pause is None:
            self._let_go(event)
            return
        parked = asyncio.create_task(self._carry_on(passage, pause))
        self._parked.add(parked)
        parked.add_done_callback(self._parked.discard)

    async def _carry_on(self, passage: Passage, pause: float | None) -> None:
        try:
            while pause is not None and not passage.event.is_void:
                if await self._stopped_within(pause):
                    return await self._hand_back(passage.event)
                pause = await self._step(passage)
        finally:
            self._let_go(passage.event)

    async def _step(self, passage: Passage) -> float | None:
        try:
            async with self._slots:
                if self._stopping.is_set():
                    await self._hand_back(passage.event)
                    return None
                return await passage.step()
        except asyncio.CancelledError:
            await self._hand_back(passage.event)
            raise
        except Exception:
            _log.exception("event given back", extra={"seq": passage.event.seq})
            await passage.event.give_back(self._pace.max_wait)
            return None

    async def _hand_back(self, event: Pulled) -> None:
        # Not before, or NATS would hand it to one of our own requests.
        await self._pulls_no_more.wait()
        await event.give_back()

    def _let_go(self, event: Pulled) -> None:
        self._held.pop(event.key, None)
        self._room.release()

    def _note(self, is_refused: bool) -> None:
        if is_refused != self._is_refused:
            self._is_refused = is_refused
            said = "sink is away or busy" if is_refused else "sink takes events again"
            _log.warning(said, extra={"stream": self._consumer.stream.name})

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._keep_every)
            for event in list(self._held.values()):
                await event.keep()

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
