"""An edge that can only tell how it is, over gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpc import aio

from kannon.adapters.pb import edge_pb2, edge_pb2_grpc


class DescribingEdge(edge_pb2_grpc.EdgeServicer):
    """Answers `Describe` with `said`."""

    def __init__(self, said: edge_pb2.DescribeResponse) -> None:
        self.said = said

    async def Submit(self, request: edge_pb2.SubmitRequest, context: object) -> edge_pb2.SubmitResponse:
        """Takes nothing."""
        return edge_pb2.SubmitResponse()

    async def Describe(self, request: edge_pb2.DescribeRequest, context: object) -> edge_pb2.DescribeResponse:
        """How it is."""
        return self.said

    async def Forget(self, request: edge_pb2.ForgetRequest, context: object) -> edge_pb2.ForgetResponse:
        """It has nothing on record."""
        return edge_pb2.ForgetResponse()


@asynccontextmanager
async def describing_edge(
    said: edge_pb2.DescribeResponse, kind: type[DescribingEdge] = DescribingEdge
) -> AsyncIterator[str]:
    """One that listens on 127.0.0.1; gives its `host:port`."""
    server = aio.server()
    edge_pb2_grpc.add_EdgeServicer_to_server(kind(said), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
