"""What is answered over HTTP/1.1: procedures, plain routes, and who asks from a browser."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway.http.grpc_web_text import TEXT, as_binary, as_text, octets_of_text

CONTENT_TYPES: Final = (
    "application/json",
    "application/proto",
    "application/connect+json",
    "application/connect+proto",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web+json",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
)
ENVELOPE: Final = 5
"""Octets before a message of a stream or of gRPC-Web."""
BROWSERS_ASK_AGAIN_SECONDS: Final = 7200
SENT_BY_BROWSERS: Final = (
    "authorization",
    "connect-protocol-version",
    "connect-timeout-ms",
    "content-encoding",
    "content-type",
    "grpc-timeout",
    "idempotency-key",
    "traceparent",
    "x-grpc-web",
    "x-kannon-admin-token",
    "x-kannon-attribution",
    "x-user-agent",
)
READ_BY_BROWSERS: Final = ("grpc-message", "grpc-status", "grpc-status-details-bin", "retry-after")


def http_app(
    rpc: ASGIApp, names: Iterable[str], max_message: int, origins: Sequence[str], routes: Sequence[BaseRoute]
) -> ASGIApp:
    """The application.

    Args:
        rpc: answers procedures.
        names: of these procedures.
        max_message: octets of the largest request.
        origins: of pages whose scripts may call (CORS), as in `https://app.example.com`; `*` for all.
        routes: plain ones, beside `/healthz`.
    """
    procedures = _Procedures(rpc, max_message)
    plain = Router([Route("/healthz", _healthy), *routes], redirect_slashes=False, default=_not_found)
    app: ASGIApp = _Paths(dict.fromkeys((f"/{name}" for name in names), procedures), plain)
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=SENT_BY_BROWSERS,
        expose_headers=READ_BY_BROWSERS,
        max_age=BROWSERS_ASK_AGAIN_SECONDS,
    )


class _Paths:
    """Finds a procedure at once, and all else by its route."""

    def __init__(self, procedures: Mapping[str, ASGIApp], plain: Router) -> None:
        self._procedures = procedures
        self._plain = plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._procedures.get(scope["path"], self._plain)
        try:
            await app(scope, receive, send)
        except HTTPException as error:  # how Starlette's router refuses a method
            await Response(error.detail, error.status_code, error.headers)(scope, receive, send)


async def _healthy(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await _refusal(404, "unimplemented", "there is no such procedure")(scope, receive, send)


class _Procedures:
    """Refuses what no procedure could read, before any of it is read."""

    def __init__(self, rpc: ASGIApp, max_message: int) -> None:
        self._rpc = rpc
        self._max_body = max_message + ENVELOPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        except UnicodeDecodeError:
            await _refusal(400, "invalid_argument", "a header is not UTF-8")(scope, receive, send)
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind not in CONTENT_TYPES:
            why = f"the content type must be one of {', '.join(CONTENT_TYPES)}; gRPC needs HTTP/2"
            await _refusal(415, "unknown", why)(scope, receive, send)
            return
        limit = self._max_body
        if kind.startswith(TEXT):
            limit = limit * 4 // 3 + 4
        body = _Body(receive, send, limit)
        if int(headers.get("content-length", "0")) > limit:
            body.too_large = True
            await _refusal(413, "resource_exhausted", "the request is too large")(scope, receive, send)
            return
        if kind.startswith(TEXT):
            await self._rpc(as_binary(scope), octets_of_text(body.receive), as_text(body.send))
        else:
            await self._rpc(scope, body.receive, body.send)


class _Body:
    """The body of a request, no further than it is allowed to go; what is refused for it says 413."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._left = limit
        self.too_large = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self.too_large = self._left < 0
        return message

    async def send(self, message: Message) -> None:
        if self.too_large and message["type"] == "http.response.start" and message["status"] != 200:
            message = {**message, "status": 413, "headers": [*message["headers"], (b"connection", b"close")]}
        await self._send(message)


def _refusal(status: int, code: str, text: str) -> Response:
    """A refusal as clients of Connect read it; the rest of the request is not waited for."""
    body = json.dumps({"code": code, "message": text})
    return Response(body, status, {"connection": "close"}, "application/json")
