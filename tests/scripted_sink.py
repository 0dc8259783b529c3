"""An HTTP sink that answers as a test wants, and remembers what it was asked."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from kannon.cli.standalone.listening import free_port


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    at: float
    headers: Mapping[str, str]
    data: bytes
    hang_up: Callable[[], None]

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers["ce-id"]

    @property
    def items(self) -> range:
        """The items that were asked for, by header or all."""
        start, _, stop = self.headers.get("Kannon-Items", f"0-{self.headers['ce-itemcount']}").partition("-")
        return range(int(start), int(stop))


Respond = Callable[[Asked], web.Response | Awaitable[web.Response]]


def status(code: int, **headers: str) -> web.Response:
    """An answer with this status; `retry_after="1"` for a header."""
    return web.Response(
        status=code, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@dataclass
class ScriptedSink:
    """Listens on 127.0.0.1 while its context is open.

    Attributes:
        respond: gives the answer to a request.
        asked: every request, in order, noted before it is answered.
    """

    respond: Respond = field(default=lambda _asked: status(204))
    certificate: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    asked: list[Asked] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}/"

    def in_turn(self, *codes: int) -> None:
        """Answer with these statuses, one after the other, and with the last one from then on."""
        left = list(codes)
        self.respond = lambda _asked: status(left.pop(0) if len(left) > 1 else left[0])

    async def listen(self) -> None:
        """Begin to listen."""
        app = web.Application(client_max_size=2**21)
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.certificate).start()

    async def close(self) -> None:
        """Listen no more; connections are cut."""
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.transport
        now = asyncio.get_running_loop().time()
        asked = Asked(now, request.headers, await request.read(), request.transport.abort)
        self.asked.append(asked)
        answer = self.respond(asked)
        return answer if isinstance(answer, web.Response) else await answer
