"""One instance of a function: a process that is started, killed and started again, and stopped."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from kannon.cli.standalone.errors import PartFailed
from kannon.cli.standalone.part import Part, RunningPart

_AGAIN_AFTER: Final = 0.2
"""Seconds until what died is started again, on a cluster the first time at once."""

log = logging.getLogger(__name__)


class Instance:
    """Runs a part as a kubelet runs a pod: while it is wanted, it is started whenever it has died.

    Args:
        make: the part, on a port that is free; called for each start, for others may take the port of what
            does not run.

    Attributes:
        name: of its part.
        is_ready: whether it takes requests, as far as is known.
        starts: how often it became ready.
        kills: how often it was killed.
        start_seconds: how long the latest start took.
    """

    def __init__(self, make: Callable[[], Part]) -> None:
        self._make = make
        self._running = RunningPart(make())
        self.name = self._running.part.name
        self.is_ready = False
        self.starts = self.kills = 0
        self.start_seconds = 0.0
        self._keeper: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._running.part.env["PORT"])

    @property
    def is_wanted(self) -> bool:
        """Whether it runs, or is started again because it died."""
        return self._keeper is not None

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            PartFailed: it does not start, not the second time either.
        """
        try:
            await self._start()
        except PartFailed:
            await self._start()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Stop it by SIGTERM: it finishes what is under way."""
        self.is_ready = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._running.stop()

    def kill(self) -> bool:
        """Kill its process (SIGKILL); returns whether it had one."""
        child = self._running.child
        if child is None or child.exit_code is not None:
            return False
        os.kill(child.pid, signal.SIGKILL)
        self.kills += 1
        return True

    async def _start(self) -> None:
        began = time.monotonic()
        self._running = RunningPart(self._make())
        try:
            await self._running.start()
        except PartFailed:
            await self._running.stop()
            raise
        self.start_seconds = time.monotonic() - began
        self.starts += 1
        self.is_ready = True

    async def _keep(self) -> None:
        while True:
            assert self._running.child is not None
            await self._running.child.wait()
            self.is_ready = False
            while not self.is_ready:
                await asyncio.sleep(_AGAIN_AFTER)
                try:
                    await self._start()
                except PartFailed as error:
                    log.warning("an instance did not start again", extra={"reason": str(error)})
