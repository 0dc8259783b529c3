"""uvicorn, on connections that somebody else accepted; bounds what a client may take before it is let in."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import Server

LARGEST_HEAD: Final = 64 * 1024
"""Octets of a request's line and headers; more are refused with 431 (RFC 6585 §5)."""
HEAD_SECONDS: Final = 10.0
"""For all of a request's line and headers."""
BODY_SECONDS: Final = 30.0
"""Until more of a request's body comes."""
KEEP_ALIVE_SECONDS: Final = 75


class HttpServer:
    """Serves connections that are handed to it.

    Args:
        app: answers the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._config = Config(
            app,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",  # what clients do wrong is told to them
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            server_header=False,
            proxy_headers=False,
        )
        self._server = _Server(self._config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[]))

    def protocol(self, ended: Callable[[], None]) -> asyncio.Protocol:
        """Serves one connection, and says when it has ended."""
        return GuardedProtocol(self._config, self._server.server_state, {}, ended=ended)

    async def stop(self, seconds: float) -> None:
        """End idle connections at once, and others when the call on them has been answered."""
        self._config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # it may be a fraction
        self._server.should_exit = True
        await self._serving


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are not uvicorn's: the process stops this server itself."""
        yield


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's, which bounds neither headers nor the time that a request takes to come."""

    def __init__(self, *args: Any, ended: Callable[[], None] = lambda: None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None
        self._between = True  # no request has begun, or the last one is complete
        self._in_head = False
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_more(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_timer()
        super().connection_lost(exc)
        self._ended()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._count(len(data))
        elif not self._between:
            self._await_more(BODY_SECONDS)
        if self._between and self._timer is None and self.timeout_keep_alive_task is None and not self.tasks:
            self._await_more(HEAD_SECONDS)  # what came was no request yet

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between, self._in_head, self._head = False, True, 0
        self._await_more(HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head += len(name) + len(value)
        if self._head > LARGEST_HEAD:
            raise ValueError("the head is too large")  # which the parser passes on as an error of its own

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        self._await_more(BODY_SECONDS)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._between = True
        self._unset_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, or too much of one."""
        if self._head <= LARGEST_HEAD:
            super().send_400_response(msg)
            return
        self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _count(self, octets: int) -> None:
        """Count what came of a head that is not complete: the parser tells of whole headers only."""
        self._head = max(self._head, 0) + octets
        if self._head > LARGEST_HEAD:
            self.send_400_response("")

    def _await_more(self, seconds: float) -> None:
        self._unset_timer()
        self._timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, seconds: float) -> None:
        if self.flow.read_paused:  # it is us who do not read
            self._await_more(seconds)
        else:
            self.transport.close()
