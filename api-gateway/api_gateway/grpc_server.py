"""gRPC: binds the endpoints to a server, with health checks and reflection."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from api_gateway.answering import Answering, Refused, parse_protobuf
from api_gateway.endpoints import Endpoint, Headers
from api_gateway.received import Received

MAX_CALLS = 1000
"""Calls at once; more are told to come again (RESOURCE_EXHAUSTED)."""
HANDSHAKE_SECONDS = 10
IDLE_SECONDS = 900
"""A connection without a call is closed after that; clients open another by themselves."""
PING_SECONDS = 120
"""As often clients with a call under way are asked whether they are still there."""
LARGEST_HEADERS = 64 * 1024
"""Octets, of one call."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "aio.ServicerContext[Any, Any]"
_Requests: TypeAlias = AsyncIterator[bytes]


class GrpcServer:
    """The gateway's gRPC server.

    Args:
        endpoints: by name.
        max_message: octets of the largest request.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], answering: Answering, max_message: int) -> None:
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in its stubs
        self._services = sorted({name.partition("/")[0] for name in endpoints})
        self._server = aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls
                ("grpc.max_receive_message_length", max_message),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", LARGEST_HEADERS),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
                ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
                ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        handlers = {f"/{name}": _handler(endpoint, answering) for name, endpoint in endpoints.items()}
        self._server.add_generic_rpc_handlers((_Handlers(handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        listed = [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(listed, self._server)

    async def start(self, address: str) -> int:
        """Listen, and answer calls.

        Args:
            address: in gRPC's form, as in `unix:/path` or `127.0.0.1:0`.

        Returns:
            The port, if it has one.
        """
        bound = self._server.add_insecure_port(address)
        await self._server.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and give those under way that long to end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    """Finds the handler of a method."""

    def __init__(self, handlers: Mapping[str, _Handler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "_Handler | None":
        """See `grpc.GenericRpcHandler`."""
        return self._handlers.get(handler_call_details.method)


def _handler(endpoint: Endpoint, answering: Answering) -> _Handler:
    """Checks credentials before the request is read, so that nobody makes us hold a large one without them:
    that is why it takes requests as a stream, of which it reads one."""

    async def message(_requests: _Requests, context: _Context) -> Any:
        try:
            call = await answering.admit(endpoint, _headers(context), peer_of(context.peer()))
            received = await _only(context)
            answer = await answering.message(endpoint, call, received, parse_protobuf)
            return answer.SerializeToString()
        except Refused as refused:
            await _abort(context, refused)

    async def messages(_requests: _Requests, context: _Context) -> AsyncIterator[bytes]:
        try:
            call = await answering.admit(endpoint, _headers(context), peer_of(context.peer()))
            received = await _only(context)
            async with aclosing(answering.messages(endpoint, call, received, parse_protobuf)) as answers:
                async for answer in answers:
                    yield answer.SerializeToString()
        except Refused as refused:
            await _abort(context, refused)

    # Requests as a stream, so that none has been read when these are called; without (de)serializers of
    # gRPC's, whose failures would show our classes to the caller.
    if endpoint.stream is not None:
        return grpc.stream_stream_rpc_method_handler(messages)
    return grpc.stream_unary_rpc_method_handler(message)


async def _only(context: _Context) -> Received:
    """The request; gRPC itself refuses one that is too large, and says so to the caller.

    The iterator of requests would hold it as long as the call takes.
    """
    octets = await context.read()
    if octets is aio.EOF:  # type: ignore[attr-defined]  # not in its stubs
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there is no request")
    return Received(octets)


async def _abort(context: _Context, refused: Refused) -> None:
    status = refused.status
    await context.abort(status.code, status.text, status.trailers)


def _headers(context: _Context) -> Headers:
    given: dict[str, list[str]] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            given.setdefault(name, []).append(value)

    return lambda name: ", ".join(given.get(name, ()))


def name_for(peer: str, unique: str) -> bytes:
    """The name of a socket by which the connection of a client at this IP address is handed on."""
    return f"\0kannon-{unique}/{peer}".encode()


def peer_of(address: str) -> str:
    """The client's IP address, from gRPC's form of the name that `name_for` made; else that of the
    connection, for whoever does not come by the front."""
    scheme, _, rest = unquote(address).partition(":")
    if scheme == "unix-abstract":
        return rest.partition("/")[2]
    return rest.rpartition(":")[0].strip("[]")
