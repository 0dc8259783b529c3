"""TCP proxies between each two parts: they cut, fall silent, delay and reset."""

import asyncio
import socket
import struct
from typing import Final

from kannon.cli.standalone.listening import free_port

_AT_ONCE: Final = 65536
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER without time: closing sends RST
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Carries connections to 127.0.0.1:`target`, until told otherwise.

    Attributes:
        port: where it listens.
        target: the port behind it.
        delay: seconds that each piece of a stream is held back.
    """

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self.port = free_port()
        self.target = target
        self.delay = 0.0
        self._is_silent = False
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close everything."""
        self._close_listener()
        self.reset()

    def reset(self) -> None:
        """End all connections with RST; new ones are carried."""
        for link in list(self._links):
            link.reset()

    def cut(self) -> None:
        """End all connections and refuse new ones, until `heal`."""
        self._close_listener()
        self.reset()

    def silence(self) -> None:
        """Swallow what both ends say and tell neither of anything, until `heal`: a peer that vanished."""
        self._is_silent = True

    async def heal(self) -> None:
        """Carry again. Connections that have a hole, where something was swallowed, end with RST."""
        self._is_silent = False
        self.delay = 0.0
        for link in [link for link in self._links if link.has_hole]:
            link.reset()
        if self._server is None:
            await self.start()

    def choose(self) -> int:
        """The port that a new connection is carried to."""
        return self.target

    @property
    def is_silent(self) -> bool:
        """Whether it swallows."""
        return self._is_silent

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, (reader, writer))
        self._links.add(link)
        try:
            await link.carry()
        finally:
            link.close()
            self._links.discard(link)


class _Link:
    """A connection to the proxy, and the one behind it."""

    def __init__(self, proxy: Proxy, near: _Streams) -> None:
        self.has_hole = False
        self._proxy = proxy
        self._ends = [near]
        self._ended = asyncio.Event()

    async def carry(self) -> None:
        near = self._ends[0]
        if self._proxy.is_silent:
            self.has_hole = True
            await self._ended.wait()
            return
        try:
            far = await asyncio.open_connection("127.0.0.1", self._proxy.choose())
        except OSError:
            return
        self._ends.append(far)
        ended = asyncio.create_task(self._ended.wait())
        pumping = {
            asyncio.create_task(self._pump(near[0], far[1])),
            asyncio.create_task(self._pump(far[0], near[1])),
        }
        while pumping and not ended.done():
            await asyncio.wait({*pumping, ended}, return_when=asyncio.FIRST_COMPLETED)
            pumping = {task for task in pumping if not task.done()}
        for task in (ended, *pumping):
            task.cancel()
        await asyncio.gather(ended, *pumping, return_exceptions=True)

    def close(self) -> None:
        for _, writer in self._ends:
            writer.close()

    def reset(self) -> None:
        self._ended.set()
        for _, writer in self._ends:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(_AT_ONCE):
                if self._proxy.delay:
                    await asyncio.sleep(self._proxy.delay)
                if self._proxy.is_silent:
                    self.has_hole = True
                    continue
                writer.write(octets)
                await writer.drain()
            if self._proxy.is_silent:
                self.has_hole = True
                await self._ended.wait()  # an end that nobody hears of
            elif writer.can_write_eof():
                writer.write_eof()
        except OSError:
            if self._proxy.is_silent:
                self.has_hole = True
                await self._ended.wait()
            self._ended.set()
