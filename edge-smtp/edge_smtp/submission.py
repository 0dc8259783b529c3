"""The edge's calls: takes Envelopes into the journal before any is transmitted, and tells of itself."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import grpc

from edge_smtp.attempts import AttemptId
from edge_smtp.journal import Answer, Journal, JournalUnavailable
from edge_smtp.observing import BatchTraces
from edge_smtp.transmitter import InHand, Suspended, Transmitter
from kannon.adapters.envelope_messages import from_submitted
from kannon.adapters.pb import edge_pb2, edge_pb2_grpc
from kannon.core.deliveries import DeliveryId
from kannon.core.envelope_seal import is_sealed
from kannon.core.envelopes import MAX_CHUNK_BYTES, Envelope
from kannon.core.errors import MalformedEvent
from kannon.ports import SubmitVerdict
from kannon.telemetry.catalogue import SUBMITTED
from kannon.telemetry.tracing import Kind, step

MAX_LISTED: Final = 100
"""How much of each kind a description lists."""
LARGE_WAIT_MS: Final = 10_000
"""What is untaken and large is not built and brought again at once: that is much work for nothing."""
_VERDICTS = {
    SubmitVerdict.TAKEN: edge_pb2.VERDICT_TAKEN,
    SubmitVerdict.UNTAKEN: edge_pb2.VERDICT_UNTAKEN,
    SubmitVerdict.REFUSED: edge_pb2.VERDICT_REFUSED,
}


class Submission(edge_pb2_grpc.EdgeServicer):
    """Serves `kannon.edge.v1.Edge`.

    Args:
        key: the subkey for Envelopes; what is not sealed with it is refused.
        name: this edge's, as Deliveries are pinned to it.
        traces: is told under which `traceparent` mail of a Batch came.
    """

    def __init__(
        self,
        key: bytes,
        journal: Journal,
        transmitter: Transmitter,
        name: str,
        traces: BatchTraces | None = None,
    ) -> None:
        self._key = key
        self._name = name
        self._journal = journal
        self._transmitter = transmitter
        self._traces = traces or BatchTraces()

    async def Submit(
        self,
        request: edge_pb2.SubmitRequest,
        context: grpc.aio.ServicerContext[edge_pb2.SubmitRequest, edge_pb2.SubmitResponse],
    ) -> edge_pb2.SubmitResponse:
        """One answer an Envelope, in order; UNAVAILABLE if the journal cannot be written."""
        given = dict(context.invocation_metadata() or ()).get("traceparent", "")
        attributes = {"messaging.batch.message_count": len(request.envelopes)}
        with step("edge submit", str(given), Kind.SERVER, attributes) as span:
            return await self._submit(request, context, span.traceparent)

    async def _submit(
        self,
        request: edge_pb2.SubmitRequest,
        context: grpc.aio.ServicerContext[edge_pb2.SubmitRequest, edge_pb2.SubmitResponse],
        traceparent: str,
    ) -> edge_pb2.SubmitResponse:
        checked = [self._checked(message) for message in request.envelopes]
        envelopes = [envelope for envelope in checked if isinstance(envelope, Envelope)]
        # A caller that goes away must not part what the journal takes from what is transmitted.
        without_room = self._transmitter.without_room(envelopes)
        # And what is begun by this call goes on with others' mail, so it is not of this call's trace.
        taking = asyncio.create_task(
            self._take(envelopes, without_room, traceparent), context=contextvars.Context()
        )
        try:
            answers = iter(await asyncio.shield(taking))
        except JournalUnavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the journal cannot be written")
        answered = [next(answers) if isinstance(it, Envelope) else it for it in checked]
        for verdict, count in Counter(answer.verdict for answer in answered).items():
            SUBMITTED.add(count, verdict.name.lower())
        return edge_pb2.SubmitResponse(
            answers=[
                _message(message, answer, without_room.get(it.delivery) if isinstance(it, Envelope) else None)
                for message, it, answer in zip(request.envelopes, checked, answered, strict=True)
            ]
        )

    async def Describe(
        self,
        request: edge_pb2.DescribeRequest,
        context: grpc.aio.ServicerContext[edge_pb2.DescribeRequest, edge_pb2.DescribeResponse],
    ) -> edge_pb2.DescribeResponse:
        """What it holds and whom it leaves alone; UNAVAILABLE if the journal cannot be read."""
        del request
        try:
            counts = await self._journal.counts()
        except JournalUnavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the journal cannot be read")
        suspended = self._transmitter.suspended()
        ambiguous = self._transmitter.ambiguous()
        return edge_pb2.DescribeResponse(
            edge=self._name,
            journal_born_at_ms=self._journal.born_at_ms,
            held=counts.held,
            capacity=self._transmitter.capacity,
            transmitting=self._transmitter.transmitting,
            unpublished=counts.unpublished,
            suspended=[_suspended(one) for one in suspended[:MAX_LISTED]],
            suspended_total=len(suspended),
            ambiguous=[_ambiguous(one) for one in ambiguous[:MAX_LISTED]],
            ambiguous_total=len(ambiguous),
        )

    async def Forget(
        self,
        request: edge_pb2.ForgetRequest,
        context: grpc.aio.ServicerContext[edge_pb2.ForgetRequest, edge_pb2.ForgetResponse],
    ) -> edge_pb2.ForgetResponse:
        """Forget replies; UNAVAILABLE if the journal cannot be written."""
        try:
            forgotten = await self._journal.forget(
                [DeliveryId(one.batch, one.seq) for one in request.deliveries]
            )
        except JournalUnavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the journal cannot be written")
        return edge_pb2.ForgetResponse(forgotten=forgotten)

    async def _take(
        self, envelopes: Sequence[Envelope], without_room: Mapping[DeliveryId, float], traceparent: str
    ) -> Sequence[Answer]:
        if not envelopes:
            return ()
        answers = await self._journal.take(envelopes, without_room)
        # Of two Attempts of a Delivery in one call the later has taken the place of the earlier.
        taken = {
            AttemptId.of(envelope)[:2]: (envelope, answer.ambiguities)
            for envelope, answer in zip(envelopes, answers, strict=True)
            if answer.is_new
        }
        self._traces.note({envelope.delivery.batch for envelope in envelopes}, traceparent)
        self._transmitter.accept(taken.values(), traceparent)
        return answers

    def _checked(self, message: edge_pb2.Envelope) -> Envelope | Answer:
        try:
            envelope = from_submitted(message)
        except MalformedEvent as error:
            return Answer(SubmitVerdict.REFUSED, str(error))
        if is_sealed(self._key, envelope):
            return envelope.whole()
        return Answer(SubmitVerdict.REFUSED, "hmac: not made with this installation's key")


def _suspended(one: Suspended) -> edge_pb2.SuspendedExchanger:
    return edge_pb2.SuspendedExchanger(
        host=one.exchanger.host,
        port=one.exchanger.port,
        failures=one.failures,
        until_ms=one.until_ms,
        waiting=one.waiting,
        reason=one.reason,
    )


def _ambiguous(one: InHand) -> edge_pb2.AmbiguousAttempt:
    return edge_pb2.AmbiguousAttempt(
        batch=one.attempt.batch,
        seq=one.attempt.seq,
        attempt=one.attempt.attempt,
        ambiguities=one.ambiguities,
        exchanger=one.bound_to,
    )


def _message(message: edge_pb2.Envelope, answer: Answer, without_room: float | None) -> edge_pb2.SubmitAnswer:
    reason, wait_ms = answer.reason, 0
    if without_room is not None and answer.verdict is SubmitVerdict.UNTAKEN:
        reason, wait_ms = "its exchanger has all the room that it may have", round(without_room * 1000)
    if answer.verdict is SubmitVerdict.UNTAKEN and len(message.email.body) > MAX_CHUNK_BYTES:
        wait_ms = max(wait_ms, LARGE_WAIT_MS)
    return edge_pb2.SubmitAnswer(
        batch=message.batch,
        seq=message.seq,
        attempt=message.attempt,
        verdict=_VERDICTS[answer.verdict],
        reason=reason,
        wait_ms=wait_ms,
    )
