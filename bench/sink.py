"""Mail sinks that answer at once and keep nothing but how many mails came, and when the last one did.

Each runs as a process of its own. Postfix's `smtp-sink` is used where it is installed, else our own.
"""

import asyncio
import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, cast

import uvloop

from kannon.cli.standalone.listening import free_port

_SHARED: Final = struct.Struct("=Qd")
_EHLO: Final = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 52428800\r\n"
_END: Final = b"\r\n.\r\n"
_SBIN: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_START_SECONDS: Final = 5.0


class Sink(Protocol):
    """A sink that runs.

    Attributes:
        name: what it is.
        port: on 127.0.0.1.
    """

    name: str
    port: int

    @property
    def pid(self) -> int:
        """Its process."""

    @property
    def count(self) -> int:
        """Mails taken so far."""

    @property
    def last_at(self) -> float:
        """When the last one was taken, as `time.monotonic` tells."""


def a_sink() -> "AbstractContextManager[Sink]":
    """The best one that is here, running while it is used as a context."""
    postfix = shutil.which("smtp-sink", path=_SBIN)
    return PostfixSink(postfix) if postfix else OwnSink()


class PostfixSink(AbstractContextManager["PostfixSink"]):
    """Postfix's `smtp-sink`, which prints how many mails came.

    Args:
        program: its path.
    """

    name = "Postfix's smtp-sink"

    def __init__(self, program: str) -> None:
        self._program = program
        self.count = 0
        self.last_at = 0.0

    def __enter__(self) -> Self:
        self.port = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        argv = [self._program, "-c", *user, f"127.0.0.1:{self.port}", "200"]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self._program} did not start")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    @property
    def pid(self) -> int:
        """See `Sink`."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout
        left = b""
        while octets := os.read(self._process.stdout.fileno(), 65536):
            left += octets
            told = re.findall(rb"mesg=(\d+)\r", left)
            left = left.rpartition(b"\r")[2]
            if told and int(told[-1]) > self.count:
                self.last_at = time.monotonic()
                self.count = int(told[-1])


class OwnSink(AbstractContextManager["OwnSink"]):
    """Our own, which shares two numbers with whoever started it."""

    name = "our own sink"

    def __enter__(self) -> Self:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(bytes(_SHARED.size))
        self._path = Path(file.name)
        with self._path.open("rb") as shared:
            self._shared = mmap.mmap(shared.fileno(), _SHARED.size, prot=mmap.PROT_READ)
        argv = [sys.executable, "-m", "bench.sink", file.name]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._shared.close()
        self._path.unlink()

    @property
    def pid(self) -> int:
        """See `Sink`."""
        return self._process.pid

    @property
    def count(self) -> int:
        """See `Sink`."""
        return int(_SHARED.unpack(self._shared[: _SHARED.size])[0])

    @property
    def last_at(self) -> float:
        """See `Sink`."""
        return float(_SHARED.unpack(self._shared[: _SHARED.size])[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class KeepingSink:
    """Keeps the mails that come to it, for a look at some; it is served by this process.

    Attributes:
        port: on 127.0.0.1.
        mails: as they came, dots stuffed.
    """

    port: int

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Conversation(self.mails.append), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()


class _Conversation(asyncio.Protocol):
    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._buffer = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers: list[bytes] = []
        while self._step(answers):
            pass
        if answers:
            self._transport.write(b"".join(answers))

    def _step(self, answers: list[bytes]) -> bool:
        if self._in_data:
            end = self._buffer.find(_END)
            if end < 0:
                return False
            self._take(self._buffer[: end + 2])
            self._buffer = self._buffer[end + len(_END) :]
            self._in_data = False
            answers.append(b"250 2.0.0 taken\r\n")
            return True
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_data = True
            answers.append(b"354 go on\r\n")
        elif verb == b"EHLO":
            answers.append(_EHLO)
        elif verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
        else:
            answers.append(b"250 2.0.0 ok\r\n")
        return True


async def _serve(path: str) -> None:
    with Path(path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), _SHARED.size)

    def take(_mail: bytes) -> None:
        count, _ = _SHARED.unpack_from(shared)
        _SHARED.pack_into(shared, 0, count + 1, time.monotonic())

    server = await asyncio.get_running_loop().create_server(lambda: _Conversation(take), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:  # nobody else would end us
        await asyncio.sleep(1)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
