"""A function that answers the public over HTTP: no events come to it.

It is an ASGI application that opens what it needs when it is served, not when it is imported.
"""

import asyncio
import logging
import os
import sys
from asyncio import Transport
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kannon.core.errors import KannonError
from kannon.runtime.collector import collect_rarely
from kannon.runtime.logs import start_logging
from kannon.runtime.settings import DEBUG, Settings

log = logging.getLogger(__name__)

MAX_REQUEST: Final = 65_536
"""Octets of a request, its body included; beside it, one read of the socket's may hold more."""
MAX_SECONDS: Final = 10.0
"""For a whole request to come in, and for a connection to begin with one."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Build = Callable[[Settings, AsyncExitStack], Awaitable[App]]


class PublicFunction:
    """A function of the system.

    Args:
        name: as logs know it.
        build: opens connections on the given stack and wires the application of requests.
    """

    def __init__(self, name: str, build: Build) -> None:
        self.name = name
        self._build = build
        self._app: App | None = None
        self._stack = AsyncExitStack()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI: a request, or the life span."""
        if scope["type"] == "http":
            assert self._app is not None, "served without a life span"
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            await self._open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._stack.aclose()
            await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> None:
        try:
            settings = Settings.load()
            start_logging(self.name, settings[DEBUG])
            # What it says of malformed requests, a line each, anybody can make it say.
            logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
            self._app = await self._build(settings, self._stack)
        except KannonError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(2)  # uvicorn would wrap it in a trace
        collect_rarely()
        log.info("ready")


class PublicProtocol(HttpToolsProtocol):
    """HTTP/1.1, of which nobody can send without end: uvicorn bounds neither headers nor the time for them."""

    _arrived = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._arrived += len(data)
        super().data_received(data)
        if self._arrived > MAX_REQUEST:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._timer is None:
            self._start_timer()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """A request has come in, whole."""
        self._stop_timer()
        self._arrived = 0
        super().on_message_complete()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(MAX_SECONDS, cast("Transport", self.transport).abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
