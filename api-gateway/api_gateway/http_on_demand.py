"""HTTP/1.1 is loaded with the first connection that speaks it: a gateway that is called by gRPC alone does
without its memory, and starts sooner."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from api_gateway.answering import Answering
from api_gateway.endpoints import Endpoint

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from api_gateway.http.server import HttpServer

Routes = Callable[[], "Sequence[BaseRoute]"]
"""Makes plain routes, and imports what they need; called once, with the first connection."""


def no_routes() -> "Sequence[BaseRoute]":
    """None."""
    return ()


class HttpOnDemand:
    """The HTTP server; see `front.Http`.

    Args:
        endpoints: by name.
        max_message: octets of the largest request.
        origins: of pages whose scripts may call (CORS).
        routes: plain ones, beside `/healthz`.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        answering: Answering,
        max_message: int,
        origins: Sequence[str] = (),
        routes: Routes = no_routes,
    ) -> None:
        self._endpoints = endpoints
        self._answering = answering
        self._max_message = max_message
        self._origins = origins
        self._routes = routes
        self._server: HttpServer | None = None

    async def load(self) -> None:
        """Import and start the server; calls by gRPC go on meanwhile."""
        for module in ("rpc", "app", "server"):
            await asyncio.to_thread(import_module, f"api_gateway.http.{module}")
        from api_gateway.http.app import http_app
        from api_gateway.http.rpc import rpc_app
        from api_gateway.http.server import HttpServer

        rpc = rpc_app(self._endpoints, self._answering, self._max_message)
        app = http_app(rpc, self._endpoints, self._max_message, self._origins, self._routes())
        self._server = HttpServer(app)

    def protocol(self, ended: Callable[[], None]) -> asyncio.Protocol:
        """Serves one connection, and says when it has ended."""
        assert self._server is not None, "load() comes first"
        return self._server.protocol(ended)

    async def stop(self, seconds: float) -> None:
        """End connections, each with the call that is under way on it."""
        if self._server is not None:
            await self._server.stop(seconds)
