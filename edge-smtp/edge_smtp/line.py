"""A connection as lines: commands out, replies in."""

import asyncio
from collections import deque
from typing import Final

from edge_smtp.replies import MalformedReply, Reply, ReplyReader

MAX_UNASKED: Final = 16
"""Replies that may wait for us; a peer that sends more of them is not listening."""
FAREWELL: Final = 2.0
"""Seconds in which a peer may answer QUIT."""


class LineLost(Exception):
    """The connection ended, or the peer did not answer in time; nothing more can be sent or read."""


class Line(asyncio.Protocol):
    """An open connection to a peer. After a loss or a timeout it is closed, and stays so.

    Args:
        transport: of whoever has opened it; from now on what comes over it comes here.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        transport.set_protocol(self)
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._leaving = False
        self._lost = ""
        self._deadline = self._patience = 0.0
        self._timer: asyncio.TimerHandle | None = None

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
        if not self._lost:
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

    def leave(self) -> None:
        """Say QUIT and close, without making anyone wait."""
        if self._lost:
            return
        self.write(b"QUIT\r\n")
        self._leaving = True
        self._loop.call_later(FAREWELL, self._transport.abort)

    def abort(self) -> None:
        """Close at once."""
        self._lose("closed by us")

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
        self._deadline, self._patience = self._loop.time() + timeout, timeout
        # One timer serves many waits: they end long before it, and it is set anew only where it is too late.
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self._lose(f"no answer within {self._patience:g} s")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._wake()
