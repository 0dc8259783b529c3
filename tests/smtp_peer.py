"""A mail exchanger for tests: takes mail on 127.0.0.1, remembers it, and misbehaves where told to."""

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP
from aiosmtpd.smtp import Envelope as ReceivedEnvelope
from aiosmtpd.smtp import Session as ReceivedSession


@dataclass(frozen=True)
class Received:
    """One copy of a mail, as it came.

    Attributes:
        connection: number of the connection that brought it, from 1.
        options: parameters of MAIL.
    """

    sender: str
    recipient: str
    content: bytes
    options: tuple[str, ...]
    tls: bool
    connection: int
    at: float


@dataclass
class Behaviour:
    """What happens to a recipient's mail, instead of being taken. Replies are whole: `550 5.1.1 unknown`.

    Attributes:
        rcpt: reply to RCPT.
        data: reply to DATA.
        dot: reply to the final dot; what it refuses is not counted as a copy.
        drop: close the connection at "rcpt", "data", "message" (after a first line), "dot" (a copy is kept,
            and no reply given); "after" replies to the dot and closes.
        hang: say nothing any more at "rcpt", "data" or "dot" (a copy is kept).
        delay: seconds before the reply to the dot.
        times: how many mails it concerns; None for all.
    """

    rcpt: str = ""
    data: str = ""
    dot: str = ""
    drop: str = ""
    hang: str = ""
    delay: float = 0.0
    times: int | None = None

    def use(self) -> None:
        """It takes effect on one more mail."""
        if self.times is not None:
            self.times -= 1


@dataclass
class SmtpPeer:
    """An SMTP server in a thread of its own. Use it as a context manager, or call `start` and `stop`.

    Attributes:
        behaviours: by address, local part, or `*`; may be changed at any time.
        tls: the server's context; without one STARTTLS is not offered.
        broken_tls: agree to STARTTLS and then talk nonsense.
        greeting: instead of 220.
        mail_reply: reply to every MAIL.
        without: extensions that are not offered, like {"PIPELINING"}.
        mails_per_connection: the next MAIL on a connection gets 421.
        idle_seconds: a connection on which nothing comes for so long is closed.
        keep_content: off for large runs.
        hanging: connections that wait for a reply that `hang` withholds.
    """

    port: int = 0
    host: str = "127.0.0.1"
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    broken_tls: bool = False
    greeting: str = ""
    mail_reply: str = ""
    without: frozenset[str] = frozenset()
    size_limit: int = 33_554_432
    mails_per_connection: int | None = None
    idle_seconds: float = 300.0
    keep_content: bool = True
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    hanging: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[_PeerProtocol] = set()

    @property
    def target(self) -> str:
        """`host:port`, for a route."""
        return f"{self.host}:{self.port}"

    def start(self) -> Self:
        """Listen; after `stop` again on the same port."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10), "the peer does not start"
        return self

    def stop(self) -> None:
        """Close everything."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def copies(self) -> Counter[str]:
        """How many copies came for each recipient."""
        with self._changed:
            return Counter(received.recipient for received in self.received)

    def wait_for(self, condition: Callable[[], object], within: float = 10.0) -> None:
        """Wait, from any thread but an event loop's, until mail has made `condition` true."""
        with self._changed:
            assert self._changed.wait_for(condition, within), f"the peer has {len(self.received)} mails"

    def drop_all(self) -> None:
        """Close all connections as a crash would."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._abort_all)

    def _run(self, started: threading.Event) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda *_: None)  # connections that we tear down
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(lambda: _PeerProtocol(self), self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        self._abort_all()
        await asyncio.sleep(0)

    def _abort_all(self) -> None:
        for one in list(self._open):
            one.abort()

    def _behaviour(self, recipient: str) -> Behaviour:
        for key in (recipient, recipient.partition("@")[0], "*"):
            found = self.behaviours.get(key)
            if found is not None and found.times != 0:
                return found
        return Behaviour()

    def _keep(self, one: Received) -> None:
        with self._changed:
            self.received.append(one)
            self._changed.notify_all()


class _Handler:
    def __init__(self, peer: SmtpPeer) -> None:
        self._peer = peer

    async def handle_EHLO(
        self,
        server: "_PeerProtocol",
        session: ReceivedSession,
        _: object,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        lines = [line for line in responses if line[4:].split()[0] not in self._peer.without]
        if self._peer.broken_tls:
            lines.insert(1, "250-STARTTLS")
        if "PIPELINING" not in self._peer.without:
            lines.insert(1, "250-PIPELINING")
        return lines

    async def handle_MAIL(
        self,
        server: "_PeerProtocol",
        session: ReceivedSession,
        envelope: ReceivedEnvelope,
        address: str,
        options: list[str],
    ) -> str:
        limit = self._peer.mails_per_connection
        if limit is not None and server.mails >= limit:
            server.close_after_reply()
            return "421 4.7.0 enough on this connection"
        if self._peer.mail_reply:
            return self._peer.mail_reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 ok"

    async def handle_RCPT(
        self,
        server: "_PeerProtocol",
        session: ReceivedSession,
        envelope: ReceivedEnvelope,
        address: str,
        options: list[str],
    ) -> str:
        behaviour = self._peer._behaviour(address)
        await server.obey(behaviour, "rcpt")
        if behaviour.rcpt:
            behaviour.use()
            self._peer.refusals[address] += 1
            return behaviour.rcpt
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(
        self, server: "_PeerProtocol", session: ReceivedSession, envelope: ReceivedEnvelope
    ) -> str:
        recipient = envelope.rcpt_tos[-1]
        behaviour = self._peer._behaviour(recipient)
        behaviour.use()
        await asyncio.sleep(behaviour.delay)
        server.mails += 1
        if behaviour.dot:
            self._peer.refusals[recipient] += 1
            return behaviour.dot
        content = envelope.content if self._peer.keep_content else b""
        assert isinstance(content, bytes)
        tls = session.ssl is not None
        options = tuple(envelope.mail_options)
        received = (
            envelope.mail_from or "",
            recipient,
            content,
            options,
            tls,
            server.number,
            time.monotonic(),
        )
        self._peer._keep(Received(*received))
        await server.obey(behaviour, "dot")
        if behaviour.drop == "after":
            server.close_after_reply()
        return f"250 2.0.0 queued as {len(self._peer.received)}"


class _PeerProtocol(SMTP):
    def __init__(self, peer: SmtpPeer) -> None:
        super().__init__(
            _Handler(peer),
            data_size_limit=peer.size_limit,
            enable_SMTPUTF8="SMTPUTF8" not in peer.without,
            hostname="peer.test",
            tls_context=peer.tls,
            timeout=peer.idle_seconds,
            loop=asyncio.get_running_loop(),
        )
        self._peer = peer
        self._closing = False
        self._greeted = False
        self.mails = 0
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self.number:
            self._peer.connections += 1
            self.number = self._peer.connections
            self._peer._open.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._peer._open.discard(self)
        super().connection_lost(error)

    def abort(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def close_after_reply(self) -> None:
        self._closing = True

    async def obey(self, behaviour: Behaviour, moment: str) -> None:
        if moment in (behaviour.drop, behaviour.hang) and moment != "dot":
            behaviour.use()
        if behaviour.drop == moment:
            self.abort()
        if moment in (behaviour.drop, behaviour.hang):
            self._peer.hanging += 1
            try:
                await asyncio.sleep(3600)  # ends when the connection does
            finally:
                self._peer.hanging -= 1

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            if self._peer.greeting:
                status = self._peer.greeting
                self._closing = not self._peer.greeting.startswith("220")
        await super().push(status)
        if self._closing and isinstance(self.transport, asyncio.Transport):
            self.transport.close()

    async def smtp_DATA(self, arg: str) -> None:
        recipients = self.envelope.rcpt_tos if self.envelope else []
        if not recipients:
            await self.push("503 5.5.1 no valid recipients")
            return
        behaviour = self._peer._behaviour(recipients[-1])
        await self.obey(behaviour, "data")
        if behaviour.data:
            behaviour.use()
            self._peer.refusals[recipients[-1]] += 1
            await self.push(behaviour.data)
            return
        if behaviour.drop == "message":
            await self.push("354 go ahead")
            await self._reader.readuntil(b"\r\n")
            await self.obey(behaviour, "message")
        await super().smtp_DATA(arg)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if not self._peer.broken_tls:
            await super().smtp_STARTTLS(arg)
            return
        await self.push("220 ready")
        self._writer.write(b"this is not TLS\r\n" * 10)
        await self._writer.drain()
        self._closing = True
