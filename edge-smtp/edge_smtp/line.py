"""A connection as lines: commands out, replies in."""

import asyncio
import ssl
from collections import deque
from typing import Final, cast

from edge_smtp.replies import MalformedReply, Reply, ReplyReader

MAX_UNASKED: Final = 16
"""Replies that may wait for us; a peer that sends more of them is not listening."""
FAREWELL: Final = 2.0
"""Seconds in which a peer may answer QUIT."""


class LineLost(Exception):
    """The connection ended, or the peer did not answer in time; nothing more can be sent or read."""


class Line(asyncio.Protocol):
    """One TCP connection to a peer. After a loss or a timeout it is closed, and stays so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._leaving = False
        self._lost = ""

    @classmethod
    async def connect(cls, address: str, port: int, timeout: float) -> "Line":
        """Connect to an IP address.

        Args:
            timeout: seconds.

        Raises:
            OSError: it is not possible, or took too long (TimeoutError).
        """
        async with asyncio.timeout(timeout):
            _, line = await asyncio.get_running_loop().create_connection(cls, address, port)
        return line

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return not (self._lost or self._replies or self._reader.has_begun)

    @property
    def lost(self) -> str:
        """Why it is closed; empty while it is open."""
        return self._lost

    def write(self, data: bytes) -> None:
        """Send; on a closed connection nothing happens, and the next read tells."""
        if self._transport is not None and not self._lost:
            self._transport.write(data)

    async def drained(self, timeout: float) -> None:
        """Wait until the peer has read most of what was written.

        Args:
            timeout: seconds.

        Raises:
            LineLost: the connection ended, or it took too long.
        """
        while self._paused and not self._lost:
            await self._wait(timeout)
        if self._lost:
            raise LineLost(self._lost)

    async def reply(self, timeout: float) -> Reply:
        """The next reply.

        Args:
            timeout: seconds.

        Raises:
            LineLost: the connection ended before it came, it is no reply, or it did not come in time.
        """
        while not self._replies:
            if self._lost:
                raise LineLost(self._lost)
            await self._wait(timeout)
        return self._replies.popleft()

    async def start_tls(self, context: ssl.SSLContext, name: str | None, timeout: float) -> None:
        """Go on encrypted; what came in plain text before is not believed (RFC 3207 §4.2).

        Args:
            name: sent as SNI.
            timeout: seconds for the handshake.

        Raises:
            LineLost: it did not come about; the connection is closed.
        """
        if not self.is_quiet or self._transport is None:
            self._lose("replies in plain text after STARTTLS")
            raise LineLost(self._lost)
        try:
            encrypted = await self._loop.start_tls(
                self._transport, self, context, server_hostname=name, ssl_handshake_timeout=timeout
            )
        except OSError as error:  # TLS errors and timeouts, too
            self._lose(f"TLS: {getattr(error, 'reason', None) or error or type(error).__name__}")
            raise LineLost(self._lost) from None
        if encrypted is None or self._lost:
            self._lose("the connection ended")
            raise LineLost(self._lost)
        self._transport = encrypted

    def leave(self) -> None:
        """Say QUIT and close, without making anyone wait."""
        if self._lost or self._transport is None:
            return
        self.write(b"QUIT\r\n")
        self._leaving = True
        self._loop.call_later(FAREWELL, self._transport.abort)

    def abort(self) -> None:
        """Close at once."""
        self._lose("closed by us")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._leaving:
            self._lose("closed by us")
            return
        try:
            self._replies.extend(self._reader.feed(data))
        except MalformedReply as error:
            self._lose(str(error))
        if len(self._replies) > MAX_UNASKED:
            self._lose("replies that nobody asked for")
        if self._replies:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lose(f"the connection ended ({exc})" if exc else "the connection ended")

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = False
        self._wake()

    async def _wait(self, timeout: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._lose, f"no answer within {timeout:g} s")
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        if self._transport is not None:
            self._transport.abort()
        self._wake()
