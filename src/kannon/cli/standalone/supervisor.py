"""Runs the parts of a standalone: starts them in order, keeps them running, stops them in reverse."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from signal import Signals
from types import TracebackType
from typing import Any, Self

from kannon.cli.standalone import log_files
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.errors import Interrupted
from kannon.cli.standalone.part import Part, Relay, RunningPart, describe_end

_ROTATION_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """How long a part that died waits to be started again: twice as long each time.

    Attributes:
        first: seconds before the first restart.
        longest: seconds at most.
        reset_after: seconds a part must have been ready for its next death to count as the first.
    """

    first: float = 0.2
    longest: float = 10.0
    reset_after: float = 30.0

    def following(self, delay: float, ready_for: float) -> float:
        """The seconds to wait, after having waited `delay` (0: never) and then been ready for `ready_for`."""
        if delay == 0 or ready_for >= self.reset_after:
            return self.first
        return min(delay * 2, self.longest)


_BACKOFF = Backoff()


@dataclass
class _Kept:
    running: RunningPart
    keeper: "asyncio.Task[None] | None" = None


class Supervisor:
    """Keeps parts running until it is told to stop.

    `start` may be called again and again: what one call starts is a group, up together, and down together
    before any earlier group. In `async with`, SIGINT, SIGTERM and SIGHUP ask it to stop, a second one kills
    every part at once, and leaving the block stops what still runs. It belongs in the main thread.
    """

    def __init__(
        self,
        data_folder: DataFolder | None = None,
        *,
        log_to_files: bool = False,
        backoff: Backoff = _BACKOFF,
        relay: Relay | None = None,
    ) -> None:
        """
        Args:
            data_folder: stays locked until the last child has ended; needed for `log_to_files`.
            log_to_files: whether the parts' output goes to files in its `logs`; otherwise to our standard
                error.
            backoff: how long a part that died waits to be started again.
            relay: takes the parts' output where it does not go to files; `relay_to_stderr` when None.
        """
        self._keep_open = data_folder.keep_open if data_folder is not None else ()
        self._logs = data_folder.subfolder("logs") if data_folder is not None and log_to_files else None
        self._backoff = backoff
        self._relay = relay if relay is not None else relay_to_stderr
        self._groups: list[list[_Kept]] = []
        self._asked = asyncio.Event()
        self._rotation: asyncio.Task[None] | None = None
        self._signals: list[Signals] = []

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each part that runs, by its name, in the order of their start."""
        return {
            kept.running.part.name: child.pid
            for kept in self._all()
            if (child := kept.running.child) is not None and child.exit_code is None
        }

    async def start(self, *parts: Part) -> None:
        """Start parts together as a new group, and wait until all are ready.

        What fails here is not tried again; the parts that did start run until `stop`.

        Raises:
            PartFailed: one cannot be started, died, or was not ready in time.
            Interrupted: a signal asked to stop meanwhile, or had done before.
        """
        if self._asked.is_set():
            raise Interrupted("asked to stop")
        group = [self._kept(part) for part in parts]
        self._groups.append(group)
        begin = asyncio.get_running_loop().time()
        await self._all_or_interrupted([kept.running.start() for kept in group])
        for kept in group:
            kept.keeper = asyncio.ensure_future(self._keep(kept.running))
        if self._rotation is None:
            self._rotation = asyncio.ensure_future(self._rotate_logs())
        logger.info(
            "parts are ready",
            extra={
                "parts": [part.name for part in parts],
                "seconds": round(asyncio.get_running_loop().time() - begin, 3),
            },
        )

    async def asked_to_stop(self) -> None:
        """Wait until a signal asks to stop; the parts still run then."""
        await self._asked.wait()

    async def run_until_signal(self) -> None:
        """Keep the parts running until a signal asks to stop, then stop them all.

        Raises:
            RuntimeError: called outside of `async with`, where no signal would be noticed.
        """
        if not self._signals:
            raise RuntimeError("run_until_signal is for use inside `async with Supervisor()`")
        await self._asked.wait()
        await self.stop()

    async def stop(self) -> None:
        """Stop every part, the latest group first; the parts of one group together."""
        self._asked.set()
        if self._rotation is not None:
            self._rotation.cancel()
        while self._groups:
            await asyncio.gather(*(self._end(kept) for kept in self._groups[-1]))
            self._groups.pop()

    def kill(self) -> None:
        """End every part at once."""
        self._asked.set()
        for kept in self._all():
            if kept.keeper is not None:
                kept.keeper.cancel()
            if kept.running.child is not None:
                kept.running.child.kill()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup
            loop.add_signal_handler(number, self._on_signal, number)
            self._signals.append(number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            await self.stop()
        finally:
            while self._signals:
                asyncio.get_running_loop().remove_signal_handler(self._signals.pop())
        return isinstance(error, Interrupted)

    def _on_signal(self, number: Signals) -> None:
        if self._asked.is_set():
            logger.warning("killing every part", extra={"signal": number.name})
            self.kill()
        else:
            logger.info("stopping", extra={"signal": number.name})
            self._asked.set()

    def _kept(self, part: Part) -> _Kept:
        if part.output is None and self._logs is not None:
            part = replace(part, output=self._logs / f"{part.name}.log")
        return _Kept(RunningPart(part, keep_open=self._keep_open, relay=self._relay))

    def _all(self) -> Iterator[_Kept]:
        for group in self._groups:
            yield from group

    async def _all_or_interrupted(self, starts: Sequence[Coroutine[Any, Any, None]]) -> None:
        interrupted = asyncio.ensure_future(self._asked.wait())
        begun = [asyncio.ensure_future(start) for start in starts]
        pending = set(begun)
        try:
            while pending:
                await asyncio.wait({*pending, interrupted}, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in pending if task.done()]:
                    pending.remove(task)
                    task.result()
                if interrupted.done():
                    raise Interrupted("asked to stop")
        finally:
            for waiting in (interrupted, *begun):
                waiting.cancel()
            await asyncio.gather(interrupted, *begun, return_exceptions=True)

    async def _keep(self, running: RunningPart) -> None:
        loop = asyncio.get_running_loop()
        delay = 0.0
        while True:
            ready_since = loop.time()
            assert running.child is not None
            end = describe_end(await running.child.wait())
            delay = self._backoff.following(delay, loop.time() - ready_since)
            logger.error(
                "a part ended and will be started again",
                extra={"part": running.part.name, "end": end, "restart_in_seconds": delay},
            )
            while not await self._starts_after(delay, running):
                delay = self._backoff.following(delay, ready_for=0.0)

    async def _starts_after(self, delay: float, running: RunningPart) -> bool:
        await asyncio.sleep(delay)
        name = running.part.name
        try:
            await running.start()
        except Exception as error:  # whatever a readiness check raises, the part is to be kept running
            logger.error("a part did not start again", extra={"part": name, "reason": str(error)})
            await running.stop()
            return False
        logger.info("a part runs again", extra={"part": name})
        return True

    async def _end(self, kept: _Kept) -> None:
        if kept.keeper is not None:
            kept.keeper.cancel()
            await asyncio.gather(kept.keeper, return_exceptions=True)
        await kept.running.stop()

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(_ROTATION_SECONDS)
            for kept in self._all():
                if kept.running.part.output is not None:
                    log_files.rotate(kept.running.part.output)


def relay_to_stderr(part: str, lines: Sequence[bytes]) -> None:
    """Pass lines of log on to standard error: JSON as it is, anything else as a record of our own."""
    records = b"".join(line + b"\n" for line in lines if line.startswith(b"{"))
    if records:
        with suppress(OSError):  # whoever read our standard error has gone; the mail goes on
            sys.stderr.buffer.write(records)
            sys.stderr.buffer.flush()
    for line in lines:
        if line.strip() and not line.startswith(b"{"):
            logger.info("a part wrote", extra={"part": part, "line": line.decode(errors="replace")})
