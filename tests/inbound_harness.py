"""The inbound half of the edge in the test's own process, and a client that says what it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_smtp.inbound.certificate import Certificate
from edge_smtp.inbound.mailboxes import Mailboxes
from edge_smtp.inbound.reception import Reception
from edge_smtp.inbound.server import Offer, ReportServer
from edge_smtp.inbound.session import Bounds
from kannon.core.payloads import ReportReceived
from kannon.core.return_path import KEY_ID, mint
from kannon.ports import ObjectStore
from tests.fakes import FakePublisher

KEY = bytes(range(32))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOUNDS = Bounds(read=5.0, write=5.0, message=10.0, session=20.0, payload=1_000_000, errors=10)
REPORT = b"From: MAILER-DAEMON@example.net\r\nSubject: failure\r\n\r\nNo such user.\r\n"


def return_path(seq: int = 7, domain: str = "mail.example.com", days: float = 1) -> str:
    """A return path that expires so many days from now."""
    return mint(KEY, KEY_ID, 42, seq, NOW + timedelta(days=days), domain)


class Inbound:
    """What takes reports, on a free port of 127.0.0.1.

    Attributes:
        publisher: has what was published.
    """

    def __init__(
        self,
        bounds: Bounds = BOUNDS,
        certificate: Certificate | None = None,
        publisher: FakePublisher | None = None,
        *,
        connections: int = 50,
        per_client: int = 50,
        max_recipients: int = 5,
        store: ObjectStore | None = None,
    ) -> None:
        self.publisher = publisher or FakePublisher()
        mailboxes = Mailboxes(
            {KEY_ID: KEY}, ["mx.example.com", "mail.example.com"], ["fbl@feedback.example.com"]
        )
        reception = Reception(mailboxes, self.publisher, lambda: NOW, max_recipients, store)
        offer = Offer("mx.example.com", bounds, certificate, connections, per_client)
        self.server = ReportServer(reception, offer)
        self._clients: list[Client] = []

    async def start(self) -> "Inbound":
        """Listen."""
        self.port = await self.server.start("127.0.0.1", 0)
        return self

    async def client(self, greeted: bool = True) -> "Client":
        """A connection; if `greeted`, its greeting was read and EHLO was said."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        if greeted:
            await client.reply()
            await client.say("EHLO client.test")
        return client

    async def ready_for_data(self, *recipients: str) -> "Client":
        """A connection on which only the message is missing."""
        client = await self.client()
        await client.say("MAIL FROM:<>")
        for recipient in recipients or (return_path(),):
            assert (await client.say(f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await client.say("DATA")).startswith("354")
        return client

    @property
    def reports(self) -> list[ReportReceived]:
        """What was published."""
        return [payload for payload in self.publisher.payloads if isinstance(payload, ReportReceived)]

    @property
    def sessions(self) -> int:
        """How many are open."""
        return len(self.server._sessions)

    async def stop(self) -> None:
        """End it, and all clients."""
        await self.server.stop(0)
        for client in self._clients:
            client.writer.close()


class Client:
    """Speaks by octets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, octets: bytes) -> None:
        """Send octets, as they are."""
        self.writer.write(octets)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def say(self, command: str) -> str:
        """Send a command and give the reply."""
        await self.send(command.encode() + b"\r\n")
        return await self.reply()

    async def reply(self) -> str:
        """The next reply, all its lines; empty if the connection was closed instead."""
        lines = []
        async with asyncio.timeout(10):
            while True:
                try:
                    line = (await self.reader.readline()).decode()
                except ConnectionError:
                    return ""
                lines.append(line.rstrip())
                if line[3:4] != "-":
                    return "\n".join(lines)

    async def is_closed(self) -> bool:
        """Whether the server closes the connection without another word."""
        return await self.reply() == ""


Eventually = Callable[..., Awaitable[object]]
"""The fixture of that name."""
Make = Callable[..., Awaitable[Inbound]]
"""The fixture `inbound`."""


def quicker(**changes: Any) -> Bounds:
    """The usual bounds, with these instead."""
    return replace(BOUNDS, **changes)
