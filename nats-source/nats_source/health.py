"""Answers `GET /healthz`: 200 while NATS is connected and every consumer is there, else 503.

For a readiness probe: the source mends itself, and to start it anew would not bring NATS back.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from nats_source.source import Route


@asynccontextmanager
async def serve_health(host: str, port: int, routes: Mapping[str, Route]) -> AsyncIterator[None]:
    """Serve it on `port`; 0 serves nothing."""

    async def answer(_request: web.Request) -> web.Response:
        found = {stage: route.is_bound for stage, route in routes.items()}
        return web.json_response({"routes": found}, status=200 if all(found.values()) else 503)

    if not port:
        yield
        return
    app = web.Application()
    app.router.add_get("/healthz", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
