"""gRPC: binds the edge's call to a server, with health checks."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from edge_smtp.submission import Submission
from kannon.adapters.pb import edge_pb2, edge_pb2_grpc
from kannon.core.errors import KannonError

MAX_MESSAGE = 64 * 1024 * 1024
"""Octets of the largest call: one Envelope may be larger than a chunk."""
SERVICE = edge_pb2.DESCRIPTOR.services_by_name["Edge"].full_name


class CannotListen(KannonError):
    """The address cannot be listened on; the text names it and its setting."""


class EdgeServer:
    """Serves `kannon.edge.v1.Edge` and `grpc.health.v1.Health`."""

    def __init__(self, submission: Submission) -> None:
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in its stubs
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second edge on the port would take half of the calls
                ("grpc.max_receive_message_length", MAX_MESSAGE),
            ]
        )
        edge_pb2_grpc.add_EdgeServicer_to_server(submission, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen, and answer calls.

        Returns:
            The port; another than `port` if that is 0.

        Raises:
            CannotListen: the address is taken, or not ours to take.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:
            raise CannotListen(f"edge.address (K_EDGE_ADDRESS): cannot listen on {address}") from None
        await self._server.start()
        for service in ("", SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and give those under way that long to end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)
