"""Somebody else's endpoint, for tests: HTTP or HTTPS on 127.0.0.1, which answers as a test wants."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Verifier

from tests.contracts import check_event

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
Answering = Callable[["Got"], bytes | Awaitable[bytes]]


def answer(status: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = [f"HTTP/1.1 {status} Something", "content-length: 0", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass
class Got:
    """A request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """What it says."""
        return json.loads(self.body)

    def verified_by(self, secret: str) -> Any:
        """The event, if its signature is good by somebody else's code, and it keeps its contract."""
        event = Verifier(secret).verify(self.body, self.headers)
        check_event(event)
        return event


@dataclass
class Receiver:
    """An endpoint.

    Attributes:
        answering: what it answers; may be changed at any time.
    """

    url: str = ""
    got: list[Got] = field(default_factory=list)
    answering: Answering = field(default=lambda _: OK)
    server_names: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def ids(self) -> list[str]:
        """Of the events that came."""
        return [got.headers["webhook-id"] for got in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            got = await _read(reader)
            self.got.append(got)
            answered = self.answering(got)
            writer.write(answered if isinstance(answered, bytes) else await answered)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.at_once -= 1
            writer.close()


@asynccontextmanager
async def receiver(
    path: str = "/hook", tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    """A running endpoint.

    Args:
        tls: to serve HTTPS.
        host: by which name or address its URL calls it.
    """
    endpoint = Receiver()
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: endpoint.server_names.append(name or "")
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    endpoint.url = f"{'https' if tls else 'http'}://{host}:{port}{path}"
    async with server:
        yield endpoint


async def _read(reader: asyncio.StreamReader) -> Got:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(_pair(line) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return Got(head[0], headers, body)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name.lower(), value
