"""Stands between the source and the stages: whatever is posted arrives twice, and is remembered."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from faults.system import System
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.plan import SOURCE, STAGES
from kannon.runtime.settings import SOURCE_ROUTES


@dataclass(frozen=True, slots=True)
class Posted:
    """A request as the source made it."""

    stage: str
    headers: Mapping[str, str]
    body: bytes


class Repeater:
    """Posts what it gets to the stage, twice at the same time.

    Attributes:
        posted: all of it, in order.
    """

    def __init__(self, system: System, session: aiohttp.ClientSession) -> None:
        self.posted: list[Posted] = []
        self._system = system
        self._session = session

    async def take(self, request: web.Request) -> web.Response:
        """Forward; the answer is the worse one of the two."""
        own = ("host", "content-length")
        kept = {name: value for name, value in request.headers.items() if name.lower() not in own}
        posted = Posted(request.match_info["stage"], kept, await request.read())
        self.posted.append(posted)
        answers = await asyncio.gather(self.post(posted), self.post(posted))
        status, retry_after = max(answers)
        return web.Response(status=status, headers={"Retry-After": retry_after} if retry_after else {})

    async def post(self, posted: Posted) -> tuple[int, str]:
        """Post to the stage; returns the status, and `Retry-After`."""
        url = f"http://127.0.0.1:{self._system.proxies[f'{SOURCE}-{posted.stage}'].port}/"
        try:
            async with self._session.post(url, data=posted.body, headers=posted.headers) as response:
                return response.status, response.headers.get("Retry-After", "")
        except aiohttp.ClientError:
            return 503, "1"


@asynccontextmanager
async def repeating(system: System) -> AsyncIterator[Repeater]:
    """Everything that the source posts arrives twice while the context lasts."""
    async with aiohttp.ClientSession() as session:
        repeater = Repeater(system, session)
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_post("/{stage}", repeater.take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        straight = system.variable(SOURCE, SOURCE_ROUTES.variable)
        doubled = ",".join(f"{stage}=http://127.0.0.1:{port}/{stage}" for stage in STAGES)
        try:
            await system.restart(SOURCE, {SOURCE_ROUTES.variable: doubled})
            yield repeater
        finally:
            await system.restart(SOURCE, {SOURCE_ROUTES.variable: straight})
            await runner.cleanup()
