"""gRPC: binds the endpoints to a server, with health checks and reflection."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from api_gateway.answering import Answering, Refused, parse_protobuf
from api_gateway.endpoints import Call, Endpoint, Headers
from api_gateway.statuses import status_of
from kannon.core.errors import BadInput, KannonError

MAX_CALLS = 1000
"""Calls at once; more are told to come again (RESOURCE_EXHAUSTED)."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "aio.ServicerContext[Any, Any]"


class CannotListen(KannonError):
    """The address cannot be listened on; the text names it and its settings."""


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
            interceptors=[_Door(endpoints, answering)],
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls
                ("grpc.max_receive_message_length", max_message),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        listed = [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(listed, self._server)

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
            raise CannotListen(
                f"api.port (K_API_PORT), api.host (K_API_HOST): cannot listen on {address}; "
                "is the port in use by another program, or not for this user to take?"
            ) from None
        await self._server.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and give those under way that long to end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)


class _Door(aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Checks credentials before the request is read, so that nobody makes us hold a large one without
    them."""

    def __init__(self, endpoints: Mapping[str, Endpoint], answering: Answering) -> None:
        self._endpoints = endpoints
        self._answering = answering

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """See `grpc.aio.ServerInterceptor`; health, reflection and unknown methods are passed on."""
        endpoint = self._endpoints.get(handler_call_details.method.removeprefix("/"))
        if endpoint is None:
            return await continuation(handler_call_details)
        return _answering(endpoint, _headers(handler_call_details), self._answering)


def _answering(endpoint: Endpoint, headers: Headers, answering: Answering) -> _Handler:
    async def admitted(context: _Context) -> tuple[Call, bytes]:
        call = await answering.admit(endpoint, headers, client_of(context.peer()))
        octets = await context.read()
        if not isinstance(octets, bytes):  # the end of a stream without any message
            raise Refused(status_of(BadInput("there is no request")))
        return call, octets

    async def message(_requests: Any, context: _Context) -> Any:
        try:
            call, octets = await admitted(context)
            answer = await answering.message(endpoint, call, octets, parse_protobuf)
            return answer.SerializeToString()
        except Refused as refused:
            await _abort(context, refused)

    async def messages(_requests: Any, context: _Context) -> AsyncIterator[bytes]:
        try:
            call, octets = await admitted(context)
            async with aclosing(answering.messages(endpoint, call, octets, parse_protobuf)) as answers:
                async for answer in answers:
                    yield answer.SerializeToString()
        except Refused as refused:
            await _abort(context, refused)

    # Requests as a stream, so that none has been read when these are called; without (de)serializers of
    # gRPC's, whose failures would show our classes to the caller.
    if endpoint.stream is not None:
        return grpc.stream_stream_rpc_method_handler(messages)
    return grpc.stream_unary_rpc_method_handler(message)


def client_of(peer: str) -> str:
    """The address of a gRPC peer, such as `ipv4:192.0.2.1:50000`, without its port."""
    family, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if family in ("ipv4", "ipv6") else ""


async def _abort(context: _Context, refused: Refused) -> None:
    status = refused.status
    await context.abort(status.code, status.text, status.trailers)


def _headers(details: grpc.HandlerCallDetails) -> Headers:
    given: dict[str, list[str]] = {}
    for name, value in details.invocation_metadata or ():
        if isinstance(value, str):
            given.setdefault(name, []).append(value)

    return lambda name: ", ".join(given.get(name, ()))
