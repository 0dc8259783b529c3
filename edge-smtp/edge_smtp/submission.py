"""The edge's call: takes Envelopes into the journal and answers, before any of them is transmitted."""

import asyncio
from collections.abc import Sequence

import grpc

from edge_smtp.attempts import AttemptId
from edge_smtp.journal import Answer, Journal, JournalUnavailable
from edge_smtp.transmitter import Transmitter
from kannon.adapters.envelope_messages import from_message
from kannon.adapters.pb import edge_pb2, edge_pb2_grpc
from kannon.core.envelope_seal import is_sealed
from kannon.core.envelopes import Envelope
from kannon.core.errors import MalformedEvent
from kannon.ports import SubmitVerdict

_VERDICTS = {
    SubmitVerdict.TAKEN: edge_pb2.VERDICT_TAKEN,
    SubmitVerdict.UNTAKEN: edge_pb2.VERDICT_UNTAKEN,
    SubmitVerdict.REFUSED: edge_pb2.VERDICT_REFUSED,
}


class Submission(edge_pb2_grpc.EdgeServicer):
    """Serves `kannon.edge.v1.Edge`.

    Args:
        key: the subkey for Envelopes; what is not sealed with it is refused.
    """

    def __init__(self, key: bytes, journal: Journal, transmitter: Transmitter) -> None:
        self._key = key
        self._journal = journal
        self._transmitter = transmitter

    async def Submit(
        self,
        request: edge_pb2.SubmitRequest,
        context: grpc.aio.ServicerContext[edge_pb2.SubmitRequest, edge_pb2.SubmitResponse],
    ) -> edge_pb2.SubmitResponse:
        """One answer an Envelope, in order; UNAVAILABLE if the journal cannot be written."""
        checked = [self._checked(message) for message in request.envelopes]
        envelopes = [envelope for envelope in checked if isinstance(envelope, Envelope)]
        # A caller that goes away must not part what the journal takes from what is transmitted.
        taking = asyncio.create_task(self._take(envelopes))
        try:
            answers = iter(await asyncio.shield(taking))
        except JournalUnavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the journal cannot be written")
        return edge_pb2.SubmitResponse(
            answers=[
                _message(message, next(answers) if isinstance(it, Envelope) else it)
                for message, it in zip(request.envelopes, checked, strict=True)
            ]
        )

    async def _take(self, envelopes: Sequence[Envelope]) -> Sequence[Answer]:
        if not envelopes:
            return ()
        answers = await self._journal.take(envelopes)
        # Of two Attempts of a Delivery in one call the later has taken the place of the earlier.
        taken = {
            AttemptId.of(envelope)[:2]: (envelope, answer.ambiguities)
            for envelope, answer in zip(envelopes, answers, strict=True)
            if answer.is_new
        }
        self._transmitter.accept(taken.values())
        return answers

    def _checked(self, message: edge_pb2.Envelope) -> Envelope | Answer:
        try:
            envelope = from_message(message)
        except MalformedEvent as error:
            return Answer(SubmitVerdict.REFUSED, str(error))
        if is_sealed(self._key, envelope):
            return envelope
        return Answer(SubmitVerdict.REFUSED, "hmac: not made with this installation's key")


def _message(message: edge_pb2.Envelope, answer: Answer) -> edge_pb2.SubmitAnswer:
    return edge_pb2.SubmitAnswer(
        batch=message.batch,
        seq=message.seq,
        attempt=message.attempt,
        verdict=_VERDICTS[answer.verdict],
        reason=answer.reason,
    )
