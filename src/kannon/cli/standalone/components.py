"""Runs the parts of a plan, and the timer that wakes some of them."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from kannon.cli.standalone.errors import Interrupted
from kannon.cli.standalone.plan import TICKED, Plan
from kannon.cli.standalone.supervisor import Supervisor
from kannon.events import TICK_TYPE

log = logging.getLogger(__name__)


@asynccontextmanager
async def running(plan: Plan, tick_every: float) -> AsyncIterator[Supervisor]:
    """Start the parts against servers that are there; stop them in order when the context is left.

    Args:
        tick_every: seconds.

    Raises:
        StandaloneError: a part cannot start, or a signal asked to stop.
    """
    async with Supervisor() as supervisor:
        async with started(plan, supervisor, tick_every):
            yield supervisor
        return
    raise Interrupted("asked to stop")  # the supervisor took it for its own end


@asynccontextmanager
async def started(plan: Plan, supervisor: Supervisor, tick_every: float) -> AsyncIterator[None]:
    """Start the parts, the source when those that it feeds are ready, and then the timer.

    Raises:
        PartFailed: one does not start.
        Interrupted: a signal asked to stop.
    """
    await supervisor.start(*plan.workers())
    if source := plan.source():
        await supervisor.start(source)
    async with AsyncExitStack() as stack:
        for stage, port in plan.stages.items():
            if stage in TICKED:
                await stack.enter_async_context(ticking(port, tick_every))
        yield


@asynccontextmanager
async def ticking(port: int, every: float) -> AsyncIterator[None]:
    """Wake the stage that listens there, as a PingSource does on a cluster, while the context lasts.

    Args:
        every: seconds.
    """
    timer = asyncio.create_task(_tick_for_ever(port, every))
    try:
        yield
    finally:
        timer.cancel()
        await asyncio.gather(timer, return_exceptions=True)


async def _tick_for_ever(port: int, every: float) -> None:
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            await asyncio.sleep(every)
            headers = {
                "ce-specversion": "1.0",
                "ce-type": TICK_TYPE,
                "ce-source": "/kannon/timer",
                "ce-id": uuid.uuid4().hex,
            }
            try:
                async with session.post(f"http://127.0.0.1:{port}/", headers=headers) as response:
                    if response.status >= 300:
                        log.warning("the tick was not taken", extra={"port": port, "status": response.status})
            except (aiohttp.ClientError, TimeoutError) as error:
                # The supervisor tells when a stage is down, and the next tick comes soon.
                log.debug(
                    "a stage did not hear the tick", extra={"port": port, "error": type(error).__name__}
                )
