"""A function that answers the public over HTTP: no events come to it, and no framework stands in between.

It opens what it needs when it is served, not when it is imported.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Protocol

from kannon.core.errors import KannonError
from kannon.runtime.collector import collect_rarely
from kannon.runtime.ending import STOPPING
from kannon.runtime.listening import GRACE_SECONDS
from kannon.runtime.logs import start_logging
from kannon.runtime.settings import DEBUG, Settings

log = logging.getLogger(__name__)

START_PATIENCE = 60.0
"""Seconds for which a starting function waits for PostgreSQL before it gives up."""
_BACKLOG = 2_048


class Service(Protocol):
    """What answers on connections."""

    def connection(self) -> asyncio.Protocol:
        """What speaks on a new one."""

    async def finish(self) -> None:
        """Answer what is under way, take no more, and return when all connections are closed."""


Build = Callable[[Settings, AsyncExitStack], Awaitable[Service]]


class PublicFunction:
    """A function of the system.

    Args:
        name: as logs know it.
        build: opens connections on the given stack and wires the service.
    """

    def __init__(self, name: str, build: Build) -> None:
        self.name = name
        self._build = build

    async def serve(self, host: str, port: int) -> None:
        """Serve until SIGTERM or SIGINT; what is under way is finished first, then what was opened is closed.

        Raises:
            KannonError: it cannot be started.
            OSError: it cannot listen there.
        """
        settings = Settings.load()
        start_logging(self.name, settings[DEBUG])
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            service = await self._build(settings, stack)
            for number in STOPPING:
                loop.add_signal_handler(number, asked.set)
            server = await loop.create_server(service.connection, host, port, backlog=_BACKLOG)
            collect_rarely()
            log.info("ready")
            await asked.wait()
            server.close()
            try:
                await asyncio.wait_for(service.finish(), GRACE_SECONDS)
            except TimeoutError:
                log.warning("requests were broken off")

    def run(self, host: str, port: int) -> None:
        """Serve in an event loop of its own; ends the process, in one line, if it cannot be started."""
        import uvloop  # half the time of each request goes where it is fast

        try:
            uvloop.run(self.serve(host, port))
        except KannonError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(2)  # at once, whatever still waits
        except OSError as error:
            print(f"error: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(3)
