"""A TCP proxy that can be shut: what is said then waits, unheard and not lost, until it is opened."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from kannon.cli.standalone.listening import free_port


@dataclass
class Gate:
    """Carries connections to 127.0.0.1:`target` while its context is open.

    Attributes:
        port: where it listens.
        waiting: how many pieces wait before it.
    """

    target: int
    port: int = field(default_factory=free_port)
    waiting: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)

    def shut(self) -> None:
        """Carry nothing any more."""
        self._open.clear()

    def open(self) -> None:
        """Carry what waits, and what comes."""
        self._open.set()

    async def __aenter__(self) -> Self:
        self.open()
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in list(self._carrying):
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while octets := await source.read(65536):
                self.waiting += 1
                try:
                    await self._open.wait()
                finally:
                    self.waiting -= 1
                sink.write(octets)
                await sink.drain()
        except OSError:
            pass  # one end is gone, and so is the other
        finally:
            sink.close()
