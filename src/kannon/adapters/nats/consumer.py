"""Pulls messages from a stage's consumer, whatever happens to NATS, stream and consumer meanwhile."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from kannon.adapters.nats.connection import Connection
from kannon.adapters.nats.streams import ACK_WAIT, FED, Stream, consumer_created, ensure_streams
from kannon.core.errors import EventsUnavailable

_log = logging.getLogger(__name__)

_STATUS: Final = "Status"
_HEARTBEAT: Final = "100"
_NOTHING_CAME: Final = frozenset({"404", "408"})
_MISSED_BEATS: Final = 2.5
_ACK_PATIENCE: Final = 5.0
_MIN_PAUSE: Final = 0.05
_MAX_PAUSE: Final = 2.0


@dataclass(slots=True)
class Pulled:
    """A message in our hands, to be acknowledged before its ack wait is over, or kept alive.

    Attributes:
        deliveries: how often it was handed out, this time included.
    """

    subject: str
    headers: Mapping[str, str]
    data: bytes
    stream: str
    seq: int
    deliveries: int
    _reply: str
    _epoch: int
    _consumer: "PullConsumer"

    @property
    def key(self) -> tuple[int, int]:
        """Which message of which incarnation of the stream it is; the same when it is delivered again."""
        return self._epoch, self.seq

    @property
    def is_void(self) -> bool:
        """Whether its stream is gone: nothing that is done with it can be acknowledged any more."""
        return self._epoch != self._consumer._epoch

    def answer_as(self, again: "Pulled") -> None:
        """Answer to the latest delivery: this message was delivered again while we had it."""
        self._reply = again._reply

    async def ack(self) -> None:
        """It is done. If that gets lost it comes again, which must be harmless."""
        await self._consumer._respond(self, b"+ACK")

    async def give_back(self, delay: float = 0.0) -> None:
        """Let it be delivered again, after `delay` seconds."""
        later = b" " + json.dumps({"delay": int(delay * 1e9)}).encode() if delay else b""
        await self._consumer._respond(self, b"-NAK" + later)

    async def keep(self) -> None:
        """It is being worked on: its ack wait begins anew."""
        await self._consumer._respond(self, b"+WPI", patience=0)


class PullConsumer:
    """The one consumer of a stage's stream.

    Stream and consumer are made when they are missing, at the start and in operation. A message is never
    acknowledged to another incarnation of its stream, where its sequence number may be another message's.

    Args:
        replicas: for streams that have to be made.
        ack_wait: seconds, for consumers that have to be made.
        expires: seconds that NATS keeps a request for a message.
        heartbeat: seconds after which NATS says that the request still stands.
    """

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        *,
        replicas: int = 1,
        ack_wait: float = ACK_WAIT,
        expires: float = 30.0,
        heartbeat: float = 5.0,
    ) -> None:
        self.stream = stream
        self.heartbeat = heartbeat
        self._connection = connection
        self._replicas = replicas
        self._ack_wait = ack_wait
        self._request = json.dumps(
            {"batch": 1, "expires": int(expires * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}
        ).encode()
        self._bound = asyncio.Event()
        self._finding = asyncio.Lock()
        self._bindings = 0
        self._search: asyncio.Task[None] | None = None
        self._created = ""
        self._epoch = 0
        self._lanes: set[Lane] = set()
        connection.on_change(self._connection_changed)

    @property
    def is_bound(self) -> bool:
        """Whether the consumer is known to be there."""
        return self._bound.is_set()

    def lane(self) -> "Lane":
        """A way to pull, one message at a time; as many as there shall be messages in hand at once."""
        lane = Lane(self)
        self._lanes.add(lane)
        return lane

    async def bind(self) -> int:
        """Wait until NATS is there, and stream and consumer too, made if need be.

        Returns:
            How often that has been found out; requests of before are void.
        """
        async with self._finding:
            pause = _MIN_PAUSE
            while not self._bound.is_set():
                await self._connection.wait_up()
                self._search = asyncio.create_task(self._find())
                try:
                    await asyncio.wait({self._search})
                finally:
                    self._search.cancel()
                if not self._search.cancelled():
                    self._search.result()
                if not self._bound.is_set():
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MAX_PAUSE)
            return self._bindings

    async def _find(self) -> None:
        js = self._connection.js
        try:
            created = await consumer_created(js, self.stream)
            if created is None:
                await self._make(js)
                created = await consumer_created(js, self.stream)
        except EventsUnavailable as error:
            _log.warning("no consumer", extra={"stream": self.stream.name, "reason": str(error)})
            return
        if created is None:
            return
        if created != self._created:
            self._epoch += 1
            self._created = created
            _log.info("consumer found", extra={"stream": self.stream.name, "consumer_created": created})
        self._bindings += 1
        self._bound.set()
        self._wake_lanes()

    async def _make(self, js: JetStreamContext) -> None:
        if self.stream in FED.values():
            await ensure_streams(js, self._replicas, self._ack_wait)
            return
        # And where its results go: who merely listens there hides from a publisher that no stream does.
        await ensure_streams(js, self._replicas, consumers=False)
        await ensure_streams(js, self._replicas, self._ack_wait, (self.stream,))

    def _unbind(self) -> None:
        self._bound.clear()

    def _connection_changed(self) -> None:
        if self._search:
            self._search.cancel()  # its question went to a server that is gone
        self._unbind()
        self._wake_lanes()

    def _wake_lanes(self) -> None:
        for lane in self._lanes:
            lane._wake()

    async def _ask(self, inbox: str) -> None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream.name}.{self.stream.stage}"
        await self._connection.client.publish(subject, self._request, reply=inbox)

    async def _respond(self, message: Pulled, answer: bytes, patience: float = _ACK_PATIENCE) -> None:
        if not self._bound.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._bound.wait()
        if self._bound.is_set() and not message.is_void:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._connection.client.publish(message._reply, answer)

    def _pulled(self, message: Msg) -> Pulled:
        about = message.metadata
        return Pulled(
            subject=message.subject,
            headers=message.headers or {},
            data=message.data,
            stream=about.stream,
            seq=about.sequence.stream,
            deliveries=about.num_delivered,
            _reply=message.reply,
            _epoch=self._epoch,
            _consumer=self,
        )


@dataclass(slots=True, eq=False)
class Lane:
    """Asks for one message at a time, over an inbox of its own."""

    _consumer: PullConsumer
    _arrived: asyncio.Queue[Msg | None] = field(default_factory=asyncio.Queue)
    _subscription: Subscription | None = None
    _binding: int = 0
    _asked_at: float | None = None
    _troubles: int = 0

    async def next(self) -> Pulled:
        """Wait for the next message, through whatever outage. May be cancelled: nothing gets lost."""
        while True:
            try:
                message = await self._receive()
            except (nats.errors.Error, OSError):
                await self._start_again()
                continue
            if message is None:
                continue
            if message.reply:
                self._asked_at = None
                self._troubles = 0
                return self._consumer._pulled(message)
            await self._heed((message.headers or {}).get(_STATUS, ""))

    async def close(self) -> None:
        """Ask no more; what comes nevertheless is given back. For when nobody waits in `next`."""
        self._consumer._lanes.discard(self)
        if self._subscription and self._consumer._connection.is_up:
            with contextlib.suppress(nats.errors.Error, OSError):
                async with asyncio.timeout(_ACK_PATIENCE):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if message is not None and message.reply:
                await self._consumer._pulled(message).give_back()

    async def _receive(self) -> Msg | None:
        binding = await self._consumer.bind() if not self._consumer.is_bound else self._consumer._bindings
        if self._subscription is None or binding != self._binding:
            await self._unsubscribe()
            self._subscription = await self._subscribe()
            self._binding = binding
        if self._asked_at is None:
            self._asked_at = asyncio.get_running_loop().time()
            await self._consumer._ask(self._subscription.subject)
        async with asyncio.timeout(_MISSED_BEATS * self._consumer.heartbeat):
            return await self._arrived.get()

    async def _heed(self, status: str) -> None:
        if status == _HEARTBEAT:
            return
        asked_at, now = self._asked_at or 0.0, asyncio.get_running_loop().time()
        if status in _NOTHING_CAME and now - asked_at > self._consumer.heartbeat:
            self._asked_at = None
            self._troubles = 0
        else:
            await self._start_again()

    async def _start_again(self) -> None:
        # At once the first time; ever more slowly while nothing but trouble comes.
        if self._troubles:
            await asyncio.sleep(min(_MIN_PAUSE * 2**self._troubles, _MAX_PAUSE))
        self._troubles = min(self._troubles + 1, 10)
        self._consumer._unbind()

    async def _subscribe(self) -> Subscription:
        # A new queue too: what an old request still brings is not what we ask for now.
        arrived: asyncio.Queue[Msg | None] = asyncio.Queue()

        async def put(message: Msg) -> None:
            arrived.put_nowait(message)

        client = self._consumer._connection.client
        subscription = await client.subscribe(client.new_inbox(), cb=put)
        self._arrived = arrived
        return subscription

    async def _unsubscribe(self) -> None:
        subscription, self._subscription, self._asked_at = self._subscription, None, None
        if subscription:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    def _wake(self) -> None:
        self._arrived.put_nowait(None)
