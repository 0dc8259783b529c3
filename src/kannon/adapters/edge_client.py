"""Calls edges over gRPC: implements `ports.EdgeClient`, `ports.EdgeLook` and `ports.EdgeMemory`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import grpc

from kannon.adapters.envelope_octets import submit_octets
from kannon.adapters.pb import edge_pb2
from kannon.core.deliveries import DeliveryId
from kannon.core.diagnosis import AmbiguousDiagnosis, EdgeDiagnosis, ExchangerDiagnosis
from kannon.core.envelopes import MAX_MESSAGE_BYTES, Envelope
from kannon.core.errors import EdgeUnavailable
from kannon.ports import SubmitAnswer, SubmitVerdict
from kannon.telemetry.tracing import current

TIMEOUT = 30.0
"""Seconds for one Submit: it only journals, so more means that the edge is stuck."""
DESCRIBE_TIMEOUT = 2.0
"""Seconds for an edge to say how it is: who asks wants to know soon that it does not answer."""
MAX_MESSAGE = MAX_MESSAGE_BYTES + 1024 * 1024
"""Octets of the largest Submit: a single Envelope may be larger than a chunk."""
SUBMIT = "/kannon.edge.v1.Edge/Submit"
DESCRIBE = "/kannon.edge.v1.Edge/Describe"
FORGET = "/kannon.edge.v1.Edge/Forget"
FORGOTTEN_AT_ONCE = 1000

_VERDICTS = {
    edge_pb2.VERDICT_TAKEN: SubmitVerdict.TAKEN,
    edge_pb2.VERDICT_UNTAKEN: SubmitVerdict.UNTAKEN,
    edge_pb2.VERDICT_REFUSED: SubmitVerdict.REFUSED,
}


class GrpcEdgeClient:
    """Keeps a channel to each edge.

    Args:
        targets: `host:port` of each edge by its name.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        options = [("grpc.max_send_message_length", MAX_MESSAGE), ("grpc.max_reconnect_backoff_ms", 2000)]
        self._channels = {
            name: grpc.aio.insecure_channel(target, options=options) for name, target in targets.items()
        }

    async def submit(self, edge: str, envelopes: Sequence[Envelope]) -> Sequence[SubmitAnswer]:
        """See `ports.EdgeClient`."""
        channel = self._channels.get(edge)
        if channel is None:
            raise EdgeUnavailable(f"edge.targets (K_EDGE_TARGETS) has no edge named {edge}", retry_after=10.0)
        submit = channel.unary_unary(SUBMIT, None, edge_pb2.SubmitResponse.FromString)
        try:
            response = await submit(submit_octets(envelopes), timeout=TIMEOUT, metadata=_trace())
        except grpc.aio.AioRpcError as error:
            raise EdgeUnavailable(f"the edge {edge} answers {error.code().name}") from None
        if len(response.answers) != len(envelopes):
            raise EdgeUnavailable(f"the edge {edge} did not answer each Envelope")
        return [
            SubmitAnswer(_VERDICTS.get(answer.verdict, SubmitVerdict.UNTAKEN), answer.wait_ms)
            for answer in response.answers
        ]

    @property
    def names(self) -> Sequence[str]:
        """See `ports.EdgeLook`."""
        return list(self._channels)

    async def look(self, edge: str) -> EdgeDiagnosis:
        """See `ports.EdgeLook`."""
        describe = self._channels[edge].unary_unary(
            DESCRIBE,
            edge_pb2.DescribeRequest.SerializeToString,
            edge_pb2.DescribeResponse.FromString,
        )
        try:
            return _diagnosis(edge, await describe(edge_pb2.DescribeRequest(), timeout=DESCRIBE_TIMEOUT))
        except grpc.aio.AioRpcError as error:
            raise EdgeUnavailable(f"the edge {edge} answers {error.code().name}") from None

    async def forget(self, edge: str, deliveries: Sequence[DeliveryId]) -> None:
        """See `ports.EdgeMemory`."""
        call = self._channels[edge].unary_unary(
            FORGET, edge_pb2.ForgetRequest.SerializeToString, edge_pb2.ForgetResponse.FromString
        )
        try:
            for at in range(0, len(deliveries), FORGOTTEN_AT_ONCE):
                names = [
                    edge_pb2.DeliveryName(batch=one.batch, seq=one.seq)
                    for one in deliveries[at : at + FORGOTTEN_AT_ONCE]
                ]
                await call(edge_pb2.ForgetRequest(deliveries=names), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise EdgeUnavailable(f"the edge {edge} answers {error.code().name}") from None

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(grace=None)


def _trace() -> tuple[tuple[str, str], ...]:
    """The trace of the step under way, as metadata (W3C trace context)."""
    return (("traceparent", traceparent),) if (traceparent := current()) else ()


def _diagnosis(edge: str, said: edge_pb2.DescribeResponse) -> EdgeDiagnosis:
    return EdgeDiagnosis(
        name=edge,
        journal_born_at=_moment(said.journal_born_at_ms),
        held=said.held,
        capacity=said.capacity,
        transmitting=said.transmitting,
        unpublished=said.unpublished,
        suspended=tuple(
            ExchangerDiagnosis(
                host=one.host,
                port=one.port,
                failures=one.failures,
                until=_moment(one.until_ms),
                waiting=one.waiting,
                reason=one.reason,
            )
            for one in said.suspended
        ),
        suspended_total=said.suspended_total,
        ambiguous=tuple(
            AmbiguousDiagnosis(
                delivery=str(DeliveryId(one.batch, one.seq)),
                attempt=one.attempt,
                ambiguities=one.ambiguities,
                exchanger=one.exchanger,
            )
            for one in said.ambiguous
        ),
        ambiguous_total=said.ambiguous_total,
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
