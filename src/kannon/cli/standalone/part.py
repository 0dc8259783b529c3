"""One part of a standalone: how it is to be run, and the process that runs it."""

import asyncio
import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import IO

from kannon.cli.standalone import log_files
from kannon.cli.standalone.child import Child, spawn
from kannon.cli.standalone.errors import PartFailed

_FIRST_POLL = 0.01
_LONGEST_POLL = 0.1
_URGENT_SECONDS = 5.0
_DRAIN_SECONDS = 1.0
_LONGEST_LINE = 64 * 1024
_TAIL = 20

Relay = Callable[[str, Sequence[bytes]], None]
"""Takes a part's name and lines of its output, without their ends."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A program to be kept running.

    Attributes:
        name: what the log calls it, and its log file.
        argv: the program and its arguments; nothing secret.
        env: its whole environment.
        ready: tells whether it does its work; None when it does so from the start.
        ready_timeout: seconds it may take to be ready.
        stop_signal: what asks it to stop.
        stop_timeout: seconds it may take to stop before it is killed.
        urgent_signal: sent when that time has passed, five seconds before it is killed.
        death_signal: what the kernel sends it if the supervisor dies.
        user: user and group id it runs as; ours when None.
        cwd: the folder it starts in; ours when None.
        output: the file its output is appended to; None leaves that to the supervisor.
        advice: what a person should do when it does not start.
    """

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_timeout: float = 30.0
    stop_signal: Signals = signal.SIGTERM
    stop_timeout: float = 20.0
    urgent_signal: Signals | None = None
    death_signal: Signals = signal.SIGKILL
    user: tuple[int, int] | None = None
    cwd: Path | None = None
    output: Path | None = None
    advice: str = ""


class RunningPart:
    """A part and the process that runs it at present."""

    def __init__(self, part: Part, *, keep_open: Sequence[int] = (), relay: Relay | None = None) -> None:
        """
        Args:
            part: what to run.
            keep_open: descriptors its processes inherit.
            relay: takes its name and the lines of its output as they come, when it has no file for that.
        """
        self.part = part
        self.child: Child | None = None
        self._keep_open = keep_open
        self._relay = relay
        self._pump: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_TAIL)
        self._log_start = 0

    async def start(self) -> None:
        """Start its process, and wait until it is ready.

        Raises:
            PartFailed: it cannot be started, died, or was not ready in time; the latter leaves it running.
        """
        part = self.part
        await self._drain()  # what an earlier process said last
        try:
            self._spawn()
        except (OSError, subprocess.SubprocessError) as error:
            raise self._failure(f"cannot be started: {error}") from error
        assert self.child is not None
        died = asyncio.ensure_future(self.child.wait())
        ready = asyncio.ensure_future(_until_ready(part))
        try:
            await asyncio.wait({died, ready}, timeout=part.ready_timeout, return_when=asyncio.FIRST_COMPLETED)
            if died.done():
                await self._drain()
                raise self._failure(f"ended while it was starting, {describe_end(died.result())}")
            if not ready.done():
                raise self._failure(f"was not ready within {part.ready_timeout:g} s")
            ready.result()
        finally:
            for task in (died, ready):
                task.cancel()
            await asyncio.gather(died, ready, return_exceptions=True)

    async def stop(self) -> None:
        """Stop its process, if it has one, as the part says."""
        if self.child is None:
            return
        steps = [(self.part.stop_signal, self.part.stop_timeout)]
        if self.part.urgent_signal is not None:
            steps.append((self.part.urgent_signal, _URGENT_SECONDS))
        began = asyncio.get_running_loop().time()
        code = await self.child.stop(*steps)
        if code == -signal.SIGKILL and asyncio.get_running_loop().time() - began >= self.part.stop_timeout:
            logger.warning("a part had to be killed", extra={"part": self.part.name, "pid": self.child.pid})
        await self._drain()

    def _spawn(self) -> None:
        part = self.part
        stdout: int | None = None
        file: int | None = None
        if part.output is not None:
            log_files.rotate(part.output)
            stdout = file = log_files.open_log(part.output)
            self._log_start = os.fstat(file).st_size
        elif self._relay is not None:
            stdout = subprocess.PIPE
        try:
            self.child = spawn(
                part.argv,
                env=part.env,
                cwd=part.cwd,
                stdout=stdout,
                stderr=stdout if stdout is None else subprocess.STDOUT,
                user=part.user,
                death_signal=part.death_signal,
                keep_open=self._keep_open,
            )
        finally:
            if file is not None:
                os.close(file)
        if self.child.output is not None:
            assert self._relay is not None
            self._pump = asyncio.ensure_future(self._relay_lines(self.child.output, self._relay))

    async def _relay_lines(self, pipe: IO[bytes], relay: Relay) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        rest = b""
        try:
            while chunk := await reader.read(_LONGEST_LINE):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) >= _LONGEST_LINE:
                    lines.append(rest)
                    rest = b""
                self._said.extend(line.decode(errors="replace") for line in lines[-_TAIL:])
                relay(self.part.name, lines)
            if rest:
                self._said.append(rest.decode(errors="replace"))
                relay(self.part.name, [rest])
        finally:
            transport.close()

    async def _drain(self) -> None:
        if self._pump is not None:
            # The pipe stays open as long as a process that left the part's group holds it.
            await asyncio.wait({self._pump}, timeout=_DRAIN_SECONDS)
            self._pump.cancel()
            self._pump = None

    def _failure(self, what: str) -> PartFailed:
        said = (
            list(self._said)
            if self.part.output is None
            else log_files.last_lines(self.part.output, since=self._log_start, count=_TAIL)
        )
        text = f"{self.part.name} {what}"
        if self.part.advice:
            text += f"; {self.part.advice}"
        if said:
            text += "; its last lines were:\n" + "\n".join(f"  {line}" for line in said)
        return PartFailed(text)


def describe_end(code: int) -> str:
    """Say how a process ended.

    Args:
        code: its exit code, or the negated number of the signal that ended it.
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


async def _until_ready(part: Part) -> None:
    if part.ready is None:
        return
    delay = _FIRST_POLL
    while not await part.ready():
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, _LONGEST_POLL)
