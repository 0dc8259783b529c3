"""HTTP/1.1 on a connection, to requests and answers. Nothing that a client sends is kept without a bound.

A web framework takes a task, a dozen of objects and two writes for each request. Most of these are answered
without waiting for anything: they are read, answered and written in one go.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Final, cast

import httptools

from functions.track.answers import BAD_REQUEST, FAILED, TOO_LARGE, TOO_MANY, Answer
from functions.track.requests import Request

log = logging.getLogger(__name__)

MAX_HEAD: Final = 32_768
"""Octets of a request line and headers; one read of the socket's may bring more."""
MAX_BODY: Final = 8_192
REQUEST_SECONDS: Final = 10.0
"""For a whole request to come in, and for a connection to begin with one."""
IDLE_SECONDS: Final = 75.0
"""Between requests: longer than proxies wait, lest one sends into a connection that is being closed."""
LOOK_EVERY: Final = 5.0
MAX_CONNECTIONS: Final = 2_000
LINGERING: Final = 1.0
"""Seconds for which what still comes is read, and thrown away, once a request was refused amid its coming: to
close at once would take the answer back from a client that has not read it (RFC 9112 §9.6)."""

Answering = Callable[[Request], "Answer | Awaitable[Answer]"]

_STATUS: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}


class Connections:
    """All that are open, of one service.

    Args:
        answer: gives the answer to a request at once, or later where it must wait for something.
    """

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.open: set[Connection] = set()
        self._date: tuple[int, bytes] = (0, b"")
        self._emptied = asyncio.Event()

    def connection(self) -> "Connection":
        """See `Service`."""
        return Connection(self)

    async def finish(self) -> None:
        """See `Service`."""
        for connection in list(self.open):
            connection.end_when_idle()
        while self.open:
            self._emptied.clear()
            await self._emptied.wait()

    def closed(self, connection: "Connection") -> None:
        """One is closed."""
        self.open.discard(connection)
        self._emptied.set()

    def date(self) -> bytes:
        """The header with the time (RFC 9110 §6.6.1)."""
        now = int(time())
        if self._date[0] != now:
            self._date = (now, f"date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]


class Connection(asyncio.Protocol):
    """One of them."""

    def __init__(self, all_: Connections) -> None:
        self._all = all_
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._peer = ""
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = b""
        self._arrived = 0
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._is_ending = False
        self._is_refused = False
        self._deadline = self._loop.time() + REQUEST_SECONDS
        self._timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""
        self._all.open.add(self)
        self._look()
        if len(self._all.open) > MAX_CONNECTIONS:
            self._refuse(TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        if self._timer:
            self._timer.cancel()
        self._all.closed(self)

    def pause_writing(self) -> None:
        """Who does not read what was answered is answered nothing more."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._answering is None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_ending:
            return
        self._arrived += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not been asked for, and then closed
        except httptools.HttpParserError:
            self._refuse_amid(BAD_REQUEST)
            return
        if self._arrived > MAX_HEAD + MAX_BODY:
            self._refuse_amid(TOO_LARGE)

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target, self._headers, self._body = b"", {}, b""
        self._deadline = self._loop.time() + REQUEST_SECONDS

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._target += url

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """A header."""
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        self._headers[name] = f"{self._headers[name]},{value}" if name in self._headers else value

    def on_headers_complete(self) -> None:
        """All headers have come."""
        is_next = self._answering is None and not self._waiting
        if is_next and self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        if len(self._body) <= MAX_BODY:
            self._body += body

    def on_message_complete(self) -> None:
        """All of it has come."""
        self._arrived = 0
        self._deadline = self._loop.time() + IDLE_SECONDS
        parser = self._parser
        keep = (
            parser.should_keep_alive() and not parser.should_upgrade() and parser.get_http_version() == "1.1"
        )
        request = Request(
            method=parser.get_method().decode("latin-1"),
            path=httptools.parse_url(self._target).path.decode("latin-1"),
            peer=self._peer,
            headers=self._headers,
            body=self._body,
        )
        self._waiting.append((request, keep))
        self._advance()

    # answers

    def end_when_idle(self) -> None:
        """Close it when nothing is under way."""
        self._is_ending = True
        if self._answering is None and not self._waiting:
            self._transport.close()

    def _advance(self) -> None:
        """Answer what has come, in its order."""
        while self._waiting and self._answering is None and not self._transport.is_closing():
            request, keep = self._waiting.popleft()
            if len(request.body) > MAX_BODY:
                self._refuse(TOO_LARGE)
                return
            try:
                answer = self._all.answer(request)
            except Exception:
                log.exception("a request failed")
                answer = FAILED
            if isinstance(answer, Answer):
                self._write(answer, keep)
            else:
                self._transport.pause_reading()
                self._answering = self._loop.create_task(self._answer_later(answer, keep))

    async def _answer_later(self, coming: Awaitable[Answer], keep: bool) -> None:
        try:
            answer = await coming
        except Exception:
            log.exception("a request failed")
            answer = FAILED
        self._answering = None
        self._deadline = self._loop.time() + IDLE_SECONDS
        if not self._transport.is_closing() and not self._is_refused:
            self._write(answer, keep)
            self._transport.resume_reading()
            self._advance()

    def _refuse(self, answer: Answer) -> None:
        if not self._transport.is_closing():
            self._write(answer, keep=False)
        self._waiting.clear()

    def _refuse_amid(self, answer: Answer) -> None:
        """Refuse what may be coming still."""
        if not self._transport.is_closing():
            self._put(answer, keep=False)
            self._transport.write_eof()
            self._loop.call_later(LINGERING, self._transport.close)
        self._is_ending = self._is_refused = True
        self._waiting.clear()

    def _write(self, answer: Answer, keep: bool) -> None:
        keep = keep and not (self._is_ending and not self._waiting)
        self._put(answer, keep)
        if not keep:
            self._is_ending = True
            self._transport.close()

    def _put(self, answer: Answer, keep: bool) -> None:
        end = b"\r\n" if keep else b"connection: close\r\n\r\n"
        self._transport.write(
            b"".join((_STATUS[answer.status], self._all.date(), answer.head, end, answer.body))
        )

    def _look(self) -> None:
        if self._loop.time() > self._deadline and self._answering is None:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(LOOK_EVERY, self._look)
