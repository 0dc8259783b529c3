"""What stands before a function on a cluster: it balances, starts on demand, and stops what is idle."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout, web

from kannon.cli.standalone.errors import PartFailed
from kannon.cli.standalone.part import Part
from scale.instance import Instance

_LARGEST: Final = 16 * 1024 * 1024
_HOLDS_FOR: Final = 60.0
"""Seconds that a request is held while nothing is ready."""
_LOOKS_EVERY: Final = 0.02
_OF_ONE_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "host",
        "keep-alive",
        "server",
        "transfer-encoding",
    }
)
"""Headers that are not passed on (RFC 9110 section 7.6.1), and those that are made anew."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Traffic:
    """What came through.

    Attributes:
        answered: requests by the instance that answered.
        broken: requests whose instance died before it answered: 502.
        turned: times that a request went to another instance, because one took no connections.
        held: requests that waited until an instance was ready.
        cold: times that a request found no instance wanted, and started one.
    """

    answered: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    turned: int = 0
    held: int = 0
    cold: int = 0


class Front:
    """One address for all instances of a function, as Knative's ingress and activator are.

    Requests go to ready instances by turns. One that finds none is held; if none is wanted either, it has the
    first started. An instance that dies with a request makes it a 502: the caller knows whether to repeat.

    Args:
        parts: what makes each instance's part.

    Attributes:
        idle_after: seconds without a request after which all instances are stopped; None: never.
    """

    def __init__(self, parts: Sequence[Callable[[], Part]]) -> None:
        self.instances = [Instance(make) for make in parts]
        self.traffic = Traffic()
        self.idle_after: float | None = None
        self._turn = 0
        self._under_way = 0
        self._last_asked = time.monotonic()
        self._scaling = asyncio.Lock()
        self._reaper: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._session: ClientSession | None = None

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1; 0 before it does."""
        return self._port

    @property
    def running(self) -> int:
        """How many instances are wanted."""
        return sum(instance.is_wanted for instance in self.instances)

    @property
    def is_asked(self) -> bool:
        """Whether requests are under way."""
        return self._under_way > 0

    async def start(self) -> None:
        """Listen; no instance runs yet."""
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._session = ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        self._reaper = asyncio.create_task(self._stop_when_idle())

    async def stop(self) -> None:
        """Stop listening, and all instances."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        await self.scale(0)
        if self._session is not None:
            await self._session.close()

    async def scale(self, wanted: int) -> None:
        """Have so many instances, ready.

        Raises:
            PartFailed: one does not start.
        """
        async with self._scaling:
            starting = [one for one in self.instances[:wanted] if not one.is_wanted]
            stopping = self.instances[wanted:]
            await asyncio.gather(*(one.start() for one in starting), *(one.stop() for one in stopping))

    async def _take(self, request: web.Request) -> web.Response:
        self._under_way += 1
        try:
            return await self._forward(request)
        finally:
            self._under_way -= 1
            self._last_asked = time.monotonic()

    async def _forward(self, request: web.Request) -> web.Response:
        assert self._session is not None
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if _is_passed_on(name)}
        deadline = time.monotonic() + _HOLDS_FOR
        while instance := await self._next(deadline):
            url = f"http://127.0.0.1:{instance.port}{request.path_qs}"
            try:
                async with self._session.request(
                    request.method, url, headers=headers, data=body, allow_redirects=False
                ) as answer:
                    content = await answer.read()
                self.traffic.answered[instance.name] += 1
                passed = {name: value for name, value in answer.headers.items() if _is_passed_on(name)}
                return web.Response(status=answer.status, headers=passed, body=content)
            except ClientConnectorError:  # it has taken nothing
                self.traffic.turned += 1
                await asyncio.sleep(_LOOKS_EVERY)
            except (ClientError, OSError):
                self.traffic.broken += 1
                return web.Response(status=502)
        return web.Response(status=503, headers={"Retry-After": "1"})

    async def _next(self, deadline: float) -> Instance | None:
        """The next one by turns, once one is ready; None if that takes too long."""
        is_held = False
        while time.monotonic() < deadline:
            ready = [one for one in self.instances if one.is_ready]
            if ready:
                self._turn += 1
                return ready[self._turn % len(ready)]
            if not is_held:
                self.traffic.held += 1
                is_held = True
            await self._wake()
            await asyncio.sleep(_LOOKS_EVERY)
        return None

    async def _wake(self) -> None:
        async with self._scaling:
            if self.running:
                return
            self.traffic.cold += 1
            try:
                await self.instances[0].start()
            except PartFailed as error:
                log.warning("an instance did not start", extra={"reason": str(error)})

    async def _stop_when_idle(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            if self.idle_after is None or self._under_way or not self.running:
                continue
            if time.monotonic() - self._last_asked >= self.idle_after:
                await self.scale(0)


def _is_passed_on(name: str) -> bool:
    return name.lower() not in _OF_ONE_CONNECTION
