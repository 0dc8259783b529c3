"""Connect and gRPC-Web, by connectrpc: it reads and writes the protocols, the answers are `Answering`'s."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final

import connectrpc.server as connect
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.types import ASGIApp

from api_gateway.answering import Answering, Parse, Refused, parse_protobuf
from api_gateway.endpoints import Call, Endpoint, Headers
from api_gateway.http.json_requests import parse_json
from api_gateway.received import Received

GRPC_WEB: Final = "application/grpc-web"
_Context = RequestContext[Any, Any]
_admitted: ContextVar[Call] = ContextVar("_admitted")


def rpc_app(endpoints: Mapping[str, Endpoint], answering: Answering, max_message: int) -> ASGIApp:
    """Answers `POST /Service/Method` of these endpoints.

    Args:
        endpoints: by name.
        max_message: octets of the largest request, compressed or not.
    """
    by_path = {f"/{name}": endpoint for name, endpoint in endpoints.items()}
    bound = {path: _bound(endpoint, answering) for path, endpoint in by_path.items()}
    app: Any = _Rpc(
        service=None,
        endpoints=lambda _: bound,
        interceptors=[_Door(endpoints, answering)],
        read_max_bytes=max_message,
        codecs=[_Codec("proto", _protobuf), _Codec("json", _json)],
    )
    answer: ASGIApp = app
    return answer


class _Rpc(connect.ConnectASGIApplication[None]):
    path = "/"


class _Codec:
    """Leaves requests as they are: who reads them waits for a turn first."""

    def __init__(self, name: str, encode: Callable[[Message], bytes]) -> None:
        self._name = name
        self.encode = encode

    def name(self) -> str:
        return self._name

    def decode(self, data: bytes | bytearray, _message_class: type[Any]) -> Received:
        return Received(data)


class _Door:
    """Asks for credentials before a request is read: connectrpc starts it with the headers alone."""

    def __init__(self, endpoints: Mapping[str, Endpoint], answering: Answering) -> None:
        self._endpoints = endpoints
        self._answering = answering

    async def on_start(self, ctx: _Context) -> None:
        endpoint = self._endpoints[f"{ctx.method.service_name}/{ctx.method.name}"]
        peer = (ctx.client_address or "").rpartition(":")[0].removeprefix("::ffff:")
        try:
            _admitted.set(await self._answering.admit(endpoint, _headers(ctx), peer))
        except Refused as refused:
            raise _error(refused, ctx) from None

    async def on_end(self, _token: None, _ctx: _Context, _error: Exception | None) -> None:
        """Nothing is to be done."""


def _bound(endpoint: Endpoint, answering: Answering) -> Any:
    async def message(received: Received, ctx: _Context) -> Message:
        try:
            return await answering.message(endpoint, _admitted.get(), received, _parse(ctx))
        except Refused as refused:
            raise _error(refused, ctx) from None

    async def messages(received: Received, ctx: _Context) -> AsyncIterator[Message]:
        try:
            answers = answering.messages(endpoint, _admitted.get(), received, _parse(ctx))
            async with aclosing(answers):
                async for answer in answers:
                    yield answer
        except Refused as refused:
            raise _error(refused, ctx) from None

    service, _, method = endpoint.name.partition("/")
    streams = endpoint.stream is not None
    about: MethodInfo[Any, Any] = MethodInfo(
        name=method,
        service_name=service,
        input=Received,
        output=Message,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.SERVER_STREAM if streams else StreamType.UNARY,
    )
    if streams:
        return connect.Endpoint.server_stream(about, messages)
    return connect.Endpoint.unary(about, message)


def _parse(ctx: _Context) -> Parse:
    kind = ctx.request_headers.get("content-type", "").partition(";")[0].strip().lower()
    return parse_json if kind.endswith("json") else parse_protobuf


def _protobuf(message: Message) -> bytes:
    return message.SerializeToString()


def _json(message: Message) -> bytes:
    return MessageToJson(message, indent=None, ensure_ascii=False).encode()


def _headers(ctx: _Context) -> Headers:
    return lambda name: ", ".join(ctx.request_headers.getall(name))


def _error(refused: Refused, ctx: _Context) -> ConnectError:
    """A refusal; what else is to be said goes where clients of the protocol look for it."""
    status = refused.status
    in_headers = ctx.method.stream_type is StreamType.UNARY and not ctx.request_headers.get(
        "content-type", ""
    ).startswith(GRPC_WEB)
    about = ctx.response_headers if in_headers else ctx.response_trailers
    for name, value in status.trailers:
        about[name] = value
    # gRPC and Connect spell one of the codes differently.
    return ConnectError(Code(status.code.name.lower().replace("cancelled", "canceled")), status.text)
