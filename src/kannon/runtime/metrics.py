"""What a process answers to `GET /metrics`, and a port of its own for processes that have none for HTTP."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from kannon.core.errors import KannonError, Unavailable
from kannon.runtime.settings import METRICS_PORT
from kannon.telemetry.catalogue import CATALOGUE, CPU, MEMORY, STARTED
from kannon.telemetry.metrics import CONTENT_TYPE, exposition

Look = Callable[[], Awaitable[None]]
"""Sets gauges to what they are now."""

PATH: Final = "/metrics"
LOOK_SECONDS: Final = 3.0
"""What is not known by then stays as it was told the last time."""
_REQUEST_SECONDS: Final = 5.0
_LARGEST_REQUEST: Final = 16 * 1024
_BEGAN: Final = time.time()

log = logging.getLogger(__name__)


class CannotServeMetrics(KannonError):
    """The port of `metrics.port` cannot be listened on."""


async def metrics(look: Look | None = None) -> bytes:
    """All that was counted, in Prometheus' text format; after `look`, if it comes to an end in time."""
    if look is not None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await look()
        except (Unavailable, TimeoutError) as error:
            log.debug("gauges are as they were", extra={"reason": str(error)})
        except Exception:
            log.exception("gauges could not be read")
    _look_at_process()
    return exposition(CATALOGUE)


@asynccontextmanager
async def serve_metrics(host: str, port: int, look: Look | None = None) -> AsyncIterator[None]:
    """Answer `GET /metrics` there, by the settings `metrics.host` and `metrics.port`; port 0 serves nothing.

    Raises:
        CannotServeMetrics: it cannot listen there.
    """
    if not port:
        yield
        return
    try:
        server = await asyncio.start_server(_Answers(look).answer, host, port, limit=_LARGEST_REQUEST)
    except OSError as error:
        place = f"{METRICS_PORT.key} ({METRICS_PORT.variable})"
        raise CannotServeMetrics(f"{place}: cannot listen on {host}:{port}: {error.strerror}") from None
    log.info("metrics are served", extra={"host": host, "port": port})
    try:
        yield
    finally:
        server.close()


class _Answers:
    """One request a connection: whoever scrapes comes every few seconds at the most."""

    def __init__(self, look: Look | None) -> None:
        self._look = look

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            try:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                async with asyncio.timeout(_REQUEST_SECONDS):
                    writer.write(await self._response(head.split(b"\r\n", 1)[0].split(b" ")))
                    await writer.drain()
            finally:
                writer.close()

    async def _response(self, request: list[bytes]) -> bytes:
        method, path = request[0], request[1] if len(request) > 1 else b""
        if path.partition(b"?")[0] != PATH.encode():
            return _http("404 Not Found", b"")
        if method not in (b"GET", b"HEAD"):
            return _http("405 Method Not Allowed", b"")
        body = await metrics(self._look)
        return _http("200 OK", body, with_body=method == b"GET")


def _http(status: str, body: bytes, *, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")


def _look_at_process() -> None:
    times = os.times()
    CPU.add(times.user + times.system - CPU.value())
    STARTED.set(_BEGAN)
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        MEMORY.set(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
