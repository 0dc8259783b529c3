"""Who is told of Outcomes: takes every event at once, and remembers whose end it told."""

from typing import Final, Self

from aiohttp import web

_ENDS: Final = frozenset(
    f"email.kannon.delivery.{name}.v1" for name in ("rejected", "delivered", "bounced", "failed")
)


class Receiver:
    """Listens on 127.0.0.1 while it is used as a context.

    Attributes:
        ended: subjects of the events that told of an end: the Deliveries.
    """

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self._port = 0
        application = web.Application()
        application.router.add_post("/", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    @property
    def url(self) -> str:
        """What `events` posts to."""
        return f"http://127.0.0.1:{self._port}/"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        if request.headers["ce-type"] in _ENDS:
            self.ended.add(request.headers["ce-subject"])
        return web.Response(status=202)
