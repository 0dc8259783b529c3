"""One connection: aiosmtpd's protocol, made strict about lines, time and mistakes."""

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Session, syntax

from edge_smtp.inbound.lines import BareLineEnd, Incoming, Lines
from edge_smtp.inbound.reception import Reception, ReportEnvelope

# RFC 5321 §4.1.2: a path, with the source route that is to be ignored (appendix C), and parameters.
_PATH: Final = re.compile(r'<(?:@[^<>:"\s]+:)?((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?: +(.*))?')
_CALLS: Final = {"*": 100, "RCPT": 1000}
"""How often a session may give each command: the loop is the outbound mail's, too."""
_FAR_TOO_LARGE: Final = 8
"""A message of that many times the size allowed is not waited for until its end."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one session may ask of us; times in seconds.

    Attributes:
        read: for a whole command, and between two pieces of a message.
        write: for a peer to take what it is told.
        message: for a whole message.
        session: for all of a session.
        payload: octets of a message.
        errors: refused commands, before the session is ended.
    """

    read: float
    write: float
    message: float
    session: float
    payload: int
    errors: int


class _Commands(dict[str, Any]):
    """Commands by their names, and one for all other names."""

    def __init__(self, known: dict[str, Any], other: Any) -> None:
        super().__init__(known)
        self._other = other

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        return super().get(name, self._other)


class ReportSession(SMTP):
    """One connection of a client that brings reports.

    Args:
        tls: for STARTTLS; not offered if None.
        ended: called once the connection is lost.
    """

    line_length_limit = 4096  # of the reader: commands go through it, messages do not

    def __init__(
        self,
        reception: Reception,
        bounds: Bounds,
        hostname: str,
        tls: ssl.SSLContext | None,
        ended: "Callable[[ReportSession], None]",
    ) -> None:
        # Of its own: aiosmtpd shares one among all sessions.
        self.command_size_limits = defaultdict(lambda: self.command_size_limit)
        super().__init__(
            reception,
            data_size_limit=bounds.payload,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="ESMTP",
            tls_context=tls,
            command_call_limit=_CALLS,
            loop=asyncio.get_running_loop(),
        )
        for name in ("AUTH", "EXPN", "HELP"):
            del self._smtp_methods[name]
        self._smtp_methods = _Commands(self._smtp_methods, self._unknown)
        self._reception = reception
        self._bounds = bounds
        self._ended = ended
        self._lines = Lines()
        self._incoming: Incoming | None = None
        self._message_ended = asyncio.Event()
        self._errors = 0
        self._step: asyncio.TimerHandle | None = None
        self._stopping = False
        self._shaking_hands = False
        self._over = False
        self._lost = False

    @property
    def receives(self) -> bool:
        """Whether a message is coming in or being published."""
        return self._incoming is not None

    # What comes in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        super().connection_made(transport)
        assert self._handler_coroutine is not None
        self._handler_coroutine.add_done_callback(_retrieve)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop the clocks, and what the session was at."""
        if self._lost:
            return
        self._lost = self._over = True
        self._clock_off()
        super().connection_lost(error)
        self._ended(self)

    def data_received(self, data: bytes) -> None:
        """Let clean lines through: to the message that is coming in, or to the commands."""
        if self._over:
            return
        try:
            octets = self._lines.feed(data)
        except BareLineEnd:
            self._end("550 5.5.2 Bare CR, bare LF or NUL received")
            return
        if self._incoming is not None and not self._message_ended.is_set():
            self._clock_on(self._bounds.read)
            rest = self._incoming.feed(octets)
            if self._incoming.size > _FAR_TOO_LARGE * self._bounds.payload:
                self._end("552 5.3.4 The message is far too large")
            if rest is None:
                return
            self._clock_off()
            self._message_ended.set()
            octets = rest
        super().data_received(octets)

    # Commands

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:
        """Take a message; reply when it is stored."""
        envelope = self.envelope
        assert isinstance(envelope, ReportEnvelope)
        assert self.session is not None
        if await self.check_helo_needed():
            return
        if not envelope.recipients:
            await self.push("503 5.5.1 Send RCPT first")
        elif arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif self._unread():
            await self._end_now("503 5.5.1 Wait for the reply to DATA")  # RFC 2920 §3.1
        elif self._stopping:
            await self._end_now("421 4.3.2 Going down, come again later")
        else:
            await self._receive(self.session, envelope)

    async def _receive(self, session: Session, envelope: ReportEnvelope) -> None:
        self._message_ended.clear()
        self._incoming = incoming = self._reception.incoming(self._bounds.payload)
        try:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            try:
                async with asyncio.timeout(self._bounds.message):
                    await self._message_ended.wait()
            except TimeoutError:
                await self._end_now("421 4.4.2 The message took too long")
            self.envelope = self._create_envelope()
            if incoming.size > self._bounds.payload:
                await self.push("552 5.3.4 The message is too large")
            else:
                await self.push(await self._reception.take(session, envelope, incoming))
        finally:
            self._incoming = None
        if self._stopping:
            await self._end_now("421 4.3.2 Going down")

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """Go on encrypted (RFC 3207). What came in plain and was not answered is never read after that."""
        transport = cast("asyncio.Transport", self.transport)
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
            return
        if not self.tls_context:
            await self.push("503 5.5.1 Not offered")
            return
        transport.pause_reading()
        if self._unread():
            await self._end_now("503 5.5.1 Wait for the reply to STARTTLS")
        self._writer.write(b"220 2.0.0 Go ahead\r\n")
        self._shaking_hands = True
        try:
            await self._writer.start_tls(self.tls_context, ssl_handshake_timeout=self._bounds.read)
            self._shaking_hands = False
        except (OSError, EOFError):  # ssl.SSLError and ConnectionError are OSErrors
            await self._end_now("")
        finally:
            if self._shaking_hands:
                self.connection_lost(None)  # of a handshake that fails asyncio does not tell
        self.transport = self._writer.transport
        self.tls_context = None  # offered once
        self._lines = Lines()
        self.session = self._create_session()
        self.session.peer = self.transport.get_extra_info("peername")
        self.session.ssl = {"version": self.transport.get_extra_info("ssl_object").version()}
        self.envelope = self._create_envelope()
        self._clock_on(self._bounds.read)

    @syntax("VRFY")
    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: ARG002
        """Tell nothing (RFC 5321 §7.3)."""
        await self.push("252 2.1.5 Send it, and see")

    async def _unknown(self, _arg: str | None) -> None:
        await self.push("502 5.5.1 Not implemented")

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Path and parameters of MAIL and RCPT; the null path as `<>`, which is how aiosmtpd keeps it."""
        match = _PATH.fullmatch(arg)
        if match is None:
            return None, None
        try:
            arg.encode()
        except UnicodeEncodeError:  # octets that were no UTF-8
            return None, None
        return match[1] or "<>", match[2] or ""

    def _create_envelope(self) -> ReportEnvelope:
        return ReportEnvelope()

    # Replies, and the ends of sessions

    async def push(self, status: str | bytes) -> None:
        """Reply; count what is refused, and wait for the next command for no longer than is allowed."""
        reply = status.encode() if isinstance(status, str) else status
        if reply.startswith(b"5"):
            self._errors += 1
            if self._errors > self._bounds.errors:
                await self._end_now("421 4.7.0 Too many errors")
        self._clock_off()
        try:
            async with asyncio.timeout(self._bounds.write):
                await super().push(reply)
        except TimeoutError:
            await self._end_now("")
        self._clock_on(self._bounds.read)

    def stop(self) -> None:
        """Take no more: at once if nothing is coming in, else after that."""
        self._stopping = True
        if not self.receives:
            self._end("421 4.3.2 Going down, come again later")

    def abort(self) -> None:
        """Drop the connection, whatever it is at."""
        self._over = True
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    async def _end_now(self, reply: str) -> None:
        """End the session from within its task; does not return."""
        self._end(reply)
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    def _end(self, reply: str) -> None:
        """Say a last word, and close; who does not take it is dropped."""
        if self._over or self.transport is None:
            return
        self._over = True
        self._clock_off()
        transport = cast("asyncio.Transport", self.transport)
        with suppress(OSError, RuntimeError):
            if reply and not self._shaking_hands:
                transport.write(reply.encode() + b"\r\n")
            transport.close()
        self._step = self.loop.call_later(self._bounds.write, transport.abort)
        assert self._handler_coroutine is not None
        self._handler_coroutine.cancel()

    # Clocks: one for what is waited for now, and aiosmtpd's own for the whole session

    def _reset_timeout(self, duration: float | None = None) -> None:  # noqa: ARG002
        # aiosmtpd calls it when a session begins, and for each command: its time is over when it has come.
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(self._bounds.session, self._timeout_cb)
        self._clock_off()

    def _timeout_cb(self) -> None:
        self._end("421 4.4.2 Too slow, or too long")

    def _clock_on(self, seconds: float) -> None:
        self._clock_off()
        if not self._over:
            self._step = self.loop.call_later(seconds, self._timeout_cb)

    def _clock_off(self) -> None:
        if self._step is not None:
            self._step.cancel()
            self._step = None

    def _unread(self) -> bool:
        return bool(self._reader._buffer)  # type: ignore[attr-defined]  # StreamReader cannot be asked


def _retrieve(task: "asyncio.Task[None]") -> None:
    # A connection that was reset ends its task with that; nobody else asks.
    if not task.cancelled():
        task.exception()
