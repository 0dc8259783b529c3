"""gRPC: binds the endpoints to a server, with health checks and reflection."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from api_gateway.endpoints import Doorkeeper, Endpoint, Headers, trace_of
from api_gateway.large_calls import LargeCalls
from api_gateway.statuses import status_of
from kannon.core.errors import BadInput, KannonError

MAX_CALLS = 1000
"""Calls at once; more are told to come again (RESOURCE_EXHAUSTED)."""

log = logging.getLogger(__name__)
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

    def __init__(self, endpoints: Mapping[str, Endpoint], doorkeeper: Doorkeeper, max_message: int) -> None:
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in its stubs
        self._services = sorted({name.partition("/")[0] for name in endpoints})
        self._server = aio.server(
            interceptors=[_Door(endpoints, doorkeeper)],
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
    them, and turns every error into a status."""

    def __init__(self, endpoints: Mapping[str, Endpoint], doorkeeper: Doorkeeper) -> None:
        self._endpoints = endpoints
        self._doorkeeper = doorkeeper
        self._large_calls = LargeCalls()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """See `grpc.aio.ServerInterceptor`; health, reflection and unknown methods are passed on."""
        endpoint = self._endpoints.get(handler_call_details.method.removeprefix("/"))
        if endpoint is None:
            return await continuation(handler_call_details)
        headers = _headers(handler_call_details)
        return _answering(endpoint, headers, self._doorkeeper, self._large_calls)


def _answering(
    endpoint: Endpoint, headers: Headers, doorkeeper: Doorkeeper, large_calls: LargeCalls
) -> _Handler:
    async def answer(_requests: Any, context: _Context) -> Any:
        started, traceparent = time.perf_counter(), trace_of(headers)
        try:
            call = await doorkeeper.admit(endpoint, headers, traceparent, client_of(context.peer()))
            octets = await context.read()
            if not isinstance(octets, bytes):  # the end of a stream without any message
                raise BadInput("there is no request")
            async with large_calls.turn(len(octets)):
                response = await endpoint.procedure(_parsed(endpoint, octets), call)
            return response.SerializeToString()
        except Exception as error:
            await _abort(context, error, endpoint.name, traceparent, time.perf_counter() - started)

    # Requests as a stream, so that none has been read when this is called; without (de)serializers of gRPC's,
    # whose failures would show our classes to the caller.
    return grpc.stream_unary_rpc_method_handler(answer)


def client_of(peer: str) -> str:
    """The address of a gRPC peer, such as `ipv4:192.0.2.1:50000`, without its port."""
    family, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if family in ("ipv4", "ipv6") else ""


def _parsed(endpoint: Endpoint, octets: bytes) -> Message:
    try:
        return endpoint.request.FromString(octets)
    except DecodeError:
        raise BadInput(f"the request is no valid {endpoint.request.DESCRIPTOR.full_name}") from None


async def _abort(
    context: _Context, error: Exception, procedure: str, traceparent: str, seconds: float = 0.0
) -> None:
    status = status_of(error)
    about = {
        "procedure": procedure,
        "status": status.code.name,
        "milliseconds": round(seconds * 1000, 1),
        "trace": traceparent,
    }
    if status.code is grpc.StatusCode.INTERNAL:
        log.error("call failed", extra=about, exc_info=error)
    else:
        log.info("call refused", extra=about | {"reason": status.text})
    await context.abort(status.code, status.text, status.trailers)


def _headers(details: grpc.HandlerCallDetails) -> Headers:
    given: dict[str, list[str]] = {}
    for name, value in details.invocation_metadata or ():
        if isinstance(value, str):
            given.setdefault(name, []).append(value)

    return lambda name: ", ".join(given.get(name, ()))
