"""Builds the Envelopes of locked Deliveries, publishes them in chunks, and moves the Deliveries on."""

import asyncio
import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from functions.dispatch.building import BatchBuilder, Keys, TooLarge
from functions.dispatch.marking import TokenMaker
from kannon.core.addresses import InvalidAddress
from kannon.core.batches import BatchContent, Delivery, Move, Outcome
from kannon.core.deliveries import Fact, transition
from kannon.core.envelopes import MAX_CHUNK_BYTES, MAX_CHUNK_ITEMS, Envelope
from kannon.core.errors import BadInput
from kannon.core.failpoints import passing
from kannon.core.fields import UnsafeField
from kannon.core.payloads import EnvelopesReady
from kannon.ports import EventPublisher, LedgerWork

SIGNING_THREADS = 2
BUILDERS_REMEMBERED = 32
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Built:
    delivery: Delivery
    envelope: Envelope | None
    failure: str


class Emitter:
    """Turns Deliveries into Envelopes on their way.

    Args:
        edges: names of the edges there are.
        tokens: what makes those in links and pixels.
    """

    def __init__(
        self, publisher: EventPublisher, keys: Keys, edges: Sequence[str], tokens: TokenMaker
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._edges = sorted(edges)
        self._tokens = tokens
        # The signature is made outside the interpreter's lock: two threads use two cores.
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="signing")
        self._builders: OrderedDict[int, BatchBuilder] = OrderedDict()
        self._remembering = threading.Lock()

    async def emit(self, work: LedgerWork, deliveries: Sequence[Delivery], now: datetime) -> list[Outcome]:
        """Build, publish and move; a Delivery that cannot be built fails alone.

        Returns:
            Outcomes of those that failed, for the caller to record.

        Raises:
            EventsUnavailable: not all could be published; the transaction must be rolled back.
        """
        built = await self._build(work, deliveries, now)
        ready = [one for one in built if one.envelope is not None]
        moves = await self._publish(ready, work)
        if ready:
            passing("dispatch.published")
        failed = [one for one in built if one.envelope is None]
        await work.move(moves + [_failed_move(one) for one in failed], now)
        return [_failed_outcome(one, now) for one in failed]

    async def _build(self, work: LedgerWork, deliveries: Sequence[Delivery], now: datetime) -> list[_Built]:
        ordered = sorted(deliveries, key=lambda delivery: delivery.id)
        by_batch = [
            (await work.batch(number), list(group))
            for number, group in groupby(ordered, key=lambda delivery: delivery.id.batch)
        ]
        in_threads = asyncio.get_running_loop().run_in_executor
        done = await asyncio.gather(
            *(
                in_threads(self._threads, self._build_some, content, half, now)
                for content, group in by_batch
                for half in _halves(group)
            )
        )
        return [one for part in done for one in part]

    def _build_some(
        self, content: BatchContent, deliveries: Sequence[Delivery], now: datetime
    ) -> list[_Built]:
        # Templates are laid out in the threads, too: a large one must not hold up everything else.
        builder = self._builder(content)
        if builder is None:
            return [_Built(delivery, None, "cannot_be_built") for delivery in deliveries]
        return [_build_one(builder, delivery, now) for delivery in deliveries]

    def _builder(self, content: BatchContent) -> BatchBuilder | None:
        """The Batch's builder, or None if none can be made: then its Deliveries fail, and no others."""
        with self._remembering:
            if content.number in self._builders:
                self._builders.move_to_end(content.number)
                return self._builders[content.number]
        try:
            builder = BatchBuilder(content, self._keys, self._tokens)
        except Exception:
            log.exception("a Batch cannot be built", extra={"batch": content.number})
            return None
        with self._remembering:
            self._builders[content.number] = builder
            while len(self._builders) > BUILDERS_REMEMBERED:
                self._builders.popitem(last=False)
        return builder

    async def _publish(self, ready: Sequence[_Built], work: LedgerWork) -> list[Move]:
        chunks = list(self._chunks(ready))
        traces = [(await work.batch(chunk[0].delivery.id.batch)).traceparent for _, chunk in chunks]
        sequences = await asyncio.gather(
            *(
                self._publisher.publish(
                    EnvelopesReady(edge, tuple(one.envelope for one in chunk if one.envelope)), trace
                )
                for (edge, chunk), trace in zip(chunks, traces, strict=True)
            )
        )
        return [
            _sending_move(one.delivery, edge, sequence)
            for (edge, chunk), sequence in zip(chunks, sequences, strict=True)
            for one in chunk
        ]

    def _chunks(self, ready: Sequence[_Built]) -> Iterator[tuple[str, list[_Built]]]:
        pinned = sorted(((self._edge_of(one.delivery), one) for one in ready), key=lambda pair: pair[0])
        for edge, group in groupby(pinned, key=lambda pair: pair[0]):
            chunk: list[_Built] = []
            size = 0
            for _, one in group:
                octets = one.envelope.size if one.envelope else 0
                if chunk and (len(chunk) == MAX_CHUNK_ITEMS or size + octets > MAX_CHUNK_BYTES):
                    yield edge, chunk
                    chunk, size = [], 0
                chunk.append(one)
                size += octets
            if chunk:
                yield edge, chunk

    def _edge_of(self, delivery: Delivery) -> str:
        """The edge a Delivery is pinned to: its journal is the one that knows the Attempts already made."""
        if delivery.edge and (delivery.edge in self._edges or delivery.standing.emission):
            return delivery.edge
        digest = hashlib.blake2b(str(delivery.id).encode(), digest_size=8).digest()
        return self._edges[int.from_bytes(digest) % len(self._edges)]


def _halves(group: Sequence[Delivery]) -> Iterable[Sequence[Delivery]]:
    middle = (len(group) + 1) // 2
    return [half for half in (group[:middle], group[middle:]) if half]


def _build_one(builder: BatchBuilder, delivery: Delivery, now: datetime) -> _Built:
    passing("dispatch.building")
    try:
        return _Built(delivery, builder.build(delivery, delivery.standing.emission + 1, now), "")
    except (UnsafeField, TooLarge, InvalidAddress) as error:
        return _Built(delivery, None, _reason(error))
    except Exception:
        # Whatever it is, it is this Delivery's alone: the others of its chunk go on.
        log.exception("a Delivery cannot be built", extra={"delivery": str(delivery.id)})
        return _Built(delivery, None, "cannot_be_built")


def _reason(error: BadInput) -> str:
    if isinstance(error, UnsafeField):
        return "unsafe_field"
    return "message_too_large" if isinstance(error, TooLarge) else "invalid_email"


def _sending_move(delivery: Delivery, edge: str, sequence: int) -> Move:
    standing = delivery.standing
    status = transition(standing, Fact.EMITTED)
    assert status is not None, "only Deliveries that may be sent are locked for it"
    return Move(
        delivery.id, status, standing.attempts, standing.emission + 1, standing.due_at, edge, sequence
    )


def _failed_move(one: _Built) -> Move:
    standing = one.delivery.standing
    status = transition(standing, Fact.FAILED, standing.current_attempt)
    assert status is not None, "only Deliveries that may be sent are locked for it"
    return one.delivery.moved(status)


def _failed_outcome(one: _Built, now: datetime) -> Outcome:
    attempt = one.delivery.standing.current_attempt
    return one.delivery.outcome("failed", attempt, now, {"reason": one.failure})
