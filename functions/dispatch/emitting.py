"""Builds the Envelopes of locked Deliveries, publishes them in chunks, and moves the Deliveries on."""

import asyncio
import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from functions.dispatch.attaching import Attaching
from functions.dispatch.building import BatchBuilder, Keys, TooLarge
from functions.dispatch.marking import TokenMaker
from kannon.core.addresses import InvalidAddress
from kannon.core.attachments import Attachment
from kannon.core.batches import BatchContent, Delivery, Move, Outcome
from kannon.core.deliveries import Fact, transition
from kannon.core.envelopes import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_ITEMS,
    MAX_CHUNK_MESSAGES,
    MAX_ENVELOPES_BYTES,
    Envelope,
)
from kannon.core.errors import BadInput, NoSuchObject, StoreUnavailable
from kannon.core.failpoints import passing
from kannon.core.fields import UnsafeField
from kannon.core.payloads import EnvelopesReady
from kannon.core.template_errors import BadTemplate, TemplateLimit
from kannon.ports import EventPublisher, LedgerWork, ObjectStore
from kannon.telemetry.tracing import onward

CANNOT = "cannot_be_built"
SIGNING_THREADS = 2
BUILDERS_REMEMBERED = 32
log = logging.getLogger(__name__)


POSTPONED = timedelta(seconds=15)
"""What needs the attachment store while that is away is due again after this."""
OCTETS_REMEMBERED = 32 * 1024**2
"""Of attachments, in all builders that are remembered, but for the last."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A Delivery with its Envelope or the reason why it fails; with neither it is postponed."""

    delivery: Delivery
    envelope: Envelope | None
    failure: str


@dataclass(frozen=True, slots=True)
class _NotBuilt:
    """Why the Deliveries of a Batch cannot be built; an empty failure postpones them."""

    failure: str


class Emitter:
    """Turns Deliveries into Envelopes on their way.

    Args:
        edges: names of the edges there are.
        tokens: what makes those in links and pixels.
        store: for attachments, and for what does not fit into events; None where none is set up.
        max_message: octets of the largest message.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        keys: Keys,
        edges: Sequence[str],
        tokens: TokenMaker,
        store: ObjectStore | None = None,
        max_message: int = MAX_CHUNK_BYTES,
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._edges = sorted(edges)
        self._attaching = Attaching(store)
        self._max_message = max_message
        self._loading = asyncio.Lock()  # one Batch at a time, and each once
        self._tokens = tokens
        # Signatures are made outside the interpreter's lock: two threads use two cores. All before that is
        # done by one thread at a time: fighting for the interpreter would cost more than it takes.
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="signing")
        self._laying_out = threading.Lock()
        self._builders: OrderedDict[int, BatchBuilder] = OrderedDict()
        self._remembering = threading.Lock()

    async def emit(self, work: LedgerWork, deliveries: Sequence[Delivery], now: datetime) -> list[Outcome]:
        """Build, publish and move; a Delivery that cannot be built fails alone, and one that needs the
        attachment store while that is away is due again later.

        Returns:
            Outcomes of those that failed, for the caller to record.

        Raises:
            EventsUnavailable: not all could be published; the transaction must be rolled back.
        """
        built = await self._stored(await self._build(work, deliveries, now))
        ready = [one for one in built if one.envelope is not None]
        moves = await self._publish(ready, work)
        if ready:
            passing("dispatch.published")
        failed = [one for one in built if one.failure]
        postponed = [one for one in built if one.envelope is None and not one.failure]
        moves += [_failed_move(one) for one in failed]
        moves += [_postponed_move(one, now) for one in postponed]
        await work.move(moves, now)
        return [_failed_outcome(one, now) for one in failed]

    async def _build(self, work: LedgerWork, deliveries: Sequence[Delivery], now: datetime) -> list[_Built]:
        ordered = sorted(deliveries, key=lambda delivery: delivery.id)
        by_batch = [
            (await work.batch(number), list(group))
            for number, group in groupby(ordered, key=lambda delivery: delivery.id.batch)
        ]
        in_threads = asyncio.get_running_loop().run_in_executor
        # Before others, so that it is there for all of them, however little is remembered.
        held = [await self._attach(content) if content.attachments else None for content, _ in by_batch]
        done = await asyncio.gather(
            *(
                in_threads(self._threads, self._build_some, content, half, now, attached)
                for (content, group), attached in zip(by_batch, held, strict=True)
                for half in _halves(group)
            )
        )
        return [one for part in done for one in part]

    async def _attach(self, content: BatchContent) -> "BatchBuilder | _NotBuilt":
        """The builder of a Batch with attachments, or why there is none."""
        async with self._loading:
            if (known := self._remembered(content.number)) is not None:
                return known
            try:
                attachments = await self._attaching.load(content)
            except StoreUnavailable as error:
                log.warning("postponed", extra={"batch": content.number, "reason": str(error)})
                return _NotBuilt("")
            except NoSuchObject as error:
                log.error("an attachment is lost", extra={"batch": content.number, "object": str(error)})
                return _NotBuilt("attachment_missing")
            make = asyncio.get_running_loop().run_in_executor
            return await make(self._threads, self._builder, content, attachments) or _NotBuilt(CANNOT)

    async def _stored(self, built: list[_Built]) -> list[_Built]:
        """Put into the store what does not fit into events; what needs it is postponed if that is away."""
        rests = [one.envelope.rest for one in built if one.envelope and one.envelope.rest]
        if not rests:
            return built
        try:
            await self._attaching.store(rests)
        except StoreUnavailable as error:
            log.warning("postponed", extra={"deliveries": len(rests), "reason": str(error)})
            return [
                _Built(one.delivery, None, "") if one.envelope and one.envelope.rest else one for one in built
            ]
        return built

    def _build_some(
        self,
        content: BatchContent,
        deliveries: Sequence[Delivery],
        now: datetime,
        attached: "BatchBuilder | _NotBuilt | None",
    ) -> list[_Built]:
        # Templates are laid out in the threads, too: a large one must not hold up everything else.
        builder = attached or self._builder(content) or _NotBuilt(CANNOT)
        if isinstance(builder, _NotBuilt):
            return [_Built(delivery, None, builder.failure) for delivery in deliveries]
        return [self._build_one(builder, delivery, now) for delivery in deliveries]

    def _build_one(self, builder: BatchBuilder, delivery: Delivery, now: datetime) -> _Built:
        passing("dispatch.building")
        try:
            with self._laying_out:
                laid_out = builder.lay_out(delivery, delivery.standing.emission + 1, now)
            return _Built(delivery, builder.sign(laid_out), "")
        except (UnsafeField, TooLarge, InvalidAddress, BadTemplate) as error:
            return _Built(delivery, None, _reason(error))
        except Exception:
            # Whatever it is, it is this Delivery's alone: the others of its chunk go on.
            log.exception("a Delivery cannot be built", extra={"delivery": str(delivery.id)})
            return _Built(delivery, None, CANNOT)

    def _remembered(self, number: int) -> BatchBuilder | None:
        with self._remembering:
            if number in self._builders:
                self._builders.move_to_end(number)
            return self._builders.get(number)

    def _builder(self, content: BatchContent, attachments: Sequence[Attachment] = ()) -> BatchBuilder | None:
        """The Batch's builder, or None if none can be made: then its Deliveries fail, and no others."""
        if (known := self._remembered(content.number)) is not None:
            return known
        try:
            builder = BatchBuilder(content, self._keys, self._tokens, attachments, self._max_message)
        except Exception:
            log.exception("a Batch cannot be built", extra={"batch": content.number})
            return None
        with self._remembering:
            self._builders[content.number] = builder
            octets = sum(one.octets for one in self._builders.values())
            while len(self._builders) > 1 and (
                len(self._builders) > BUILDERS_REMEMBERED or octets > OCTETS_REMEMBERED
            ):
                octets -= self._builders.popitem(last=False)[1].octets
        return builder

    async def _publish(self, ready: Sequence[_Built], work: LedgerWork) -> list[Move]:
        chunks = list(self._chunks(ready))
        traces = [await _trace_of(chunk, work) for _, chunk in chunks]
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
            size = messages = 0
            for _, one in group:
                assert one.envelope is not None, "only what is ready is published"
                size += one.envelope.size
                messages += one.envelope.message_size
                if chunk and (
                    len(chunk) == MAX_CHUNK_ITEMS
                    or size > MAX_ENVELOPES_BYTES
                    or messages > MAX_CHUNK_MESSAGES
                ):
                    yield edge, chunk
                    chunk, size, messages = [], one.envelope.size, one.envelope.message_size
                chunk.append(one)
            if chunk:
                yield edge, chunk

    def _edge_of(self, delivery: Delivery) -> str:
        """The edge a Delivery is pinned to: its journal is the one that knows the Attempts already made."""
        if delivery.edge and (delivery.edge in self._edges or delivery.standing.emission):
            return delivery.edge
        digest = hashlib.blake2b(str(delivery.id).encode(), digest_size=8).digest()
        return self._edges[int.from_bytes(digest) % len(self._edges)]


async def _trace_of(chunk: Sequence[_Built], work: LedgerWork) -> str:
    """Under which `traceparent` a chunk goes on, which may hold mail of several Batches."""
    batches = dict.fromkeys(one.delivery.id.batch for one in chunk)
    return onward([(await work.batch(number)).traceparent for number in batches])


def _halves(group: Sequence[Delivery]) -> Iterable[Sequence[Delivery]]:
    middle = (len(group) + 1) // 2
    return [half for half in (group[:middle], group[middle:]) if half]


def _postponed_move(one: _Built, now: datetime) -> Move:
    status = transition(one.delivery.standing, Fact.VERIFIED) or one.delivery.standing.status
    return one.delivery.moved(status, due_at=now + POSTPONED)


def _reason(error: BadInput) -> str:
    if isinstance(error, UnsafeField):
        return "unsafe_field"
    if isinstance(error, BadTemplate):
        return "template_limit" if isinstance(error, TemplateLimit) else "template_error"
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
