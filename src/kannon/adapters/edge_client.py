"""Hands Envelopes to edges over gRPC: implements `ports.EdgeClient`."""

from collections.abc import Mapping, Sequence

import grpc

from kannon.adapters.envelope_octets import submit_octets
from kannon.adapters.pb import edge_pb2
from kannon.core.envelopes import Envelope
from kannon.core.errors import EdgeUnavailable
from kannon.ports import SubmitVerdict

TIMEOUT = 30.0
"""Seconds for one Submit: it only journals, so more means that the edge is stuck."""
MAX_MESSAGE = 4 * 1024 * 1024
SUBMIT = "/kannon.edge.v1.Edge/Submit"

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

    async def submit(self, edge: str, envelopes: Sequence[Envelope]) -> Sequence[SubmitVerdict]:
        """See `ports.EdgeClient`."""
        channel = self._channels.get(edge)
        if channel is None:
            raise EdgeUnavailable(f"edge.targets (K_EDGE_TARGETS) has no edge named {edge}", retry_after=10.0)
        submit = channel.unary_unary(SUBMIT, None, edge_pb2.SubmitResponse.FromString)
        try:
            response = await submit(submit_octets(envelopes), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise EdgeUnavailable(f"the edge {edge} answers {error.code().name}") from None
        if len(response.answers) != len(envelopes):
            raise EdgeUnavailable(f"the edge {edge} did not answer each Envelope")
        return [_VERDICTS.get(answer.verdict, SubmitVerdict.UNTAKEN) for answer in response.answers]

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(grace=None)
