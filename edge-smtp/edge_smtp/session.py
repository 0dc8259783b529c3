"""An SMTP session with one exchanger, as its client (RFC 5321 §3, RFC 2920, RFC 3207)."""

import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from edge_smtp.line import Line, LineLost
from edge_smtp.outgoing import Outgoing
from edge_smtp.replies import Reply
from kannon.core.exchangers import Exchanger
from kannon.core.replies import Refusal, Stage

PATIENCE_AFTER_REFUSAL: Final = 5.0
"""Seconds for the answers to commands that were sent along with the one that was refused."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a peer (RFC 5321 §4.5.3.2)."""

    connect: float = 30.0
    greeting: float = 300.0
    ehlo: float = 300.0
    tls: float = 60.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0

    @classmethod
    def scaled(cls, scale: float, connect: float) -> Self:
        """All but `connect` times `scale`."""
        given = cls()
        names = ("greeting", "ehlo", "tls", "mail", "rcpt", "data", "block", "dot")
        return cls(connect, *(getattr(given, name) * scale for name in names))


class NotTransmitted(Exception):
    """The session did not get as far as the final dot: another way may be tried.

    Attributes:
        refusal: what it ended with.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class TlsFailed(NotTransmitted):
    """STARTTLS was agreed upon and did not come about."""


class Unconfirmed(Exception):
    """The session ended after the final dot without a reply: the mail may have been delivered."""


@dataclass(slots=True)
class Session:
    """An open session, ready for mail. Open it with `open`; after an exception it is of no more use.

    Attributes:
        extensions: what the peer offers, by keyword in upper case, with its parameters.
        mails: how many it has carried.
        tls_trouble: why an earlier session with this peer could not be encrypted.
    """

    exchanger: Exchanger
    line: Line
    timeouts: Timeouts
    extensions: dict[str, str]
    mails: int = 0
    tls_trouble: str = ""
    _needs_reset: bool = False

    @classmethod
    async def open(
        cls, exchanger: Exchanger, address: str, hostname: str, timeouts: Timeouts, tls: ssl.SSLContext | None
    ) -> Self:
        """Connect to `address` of `exchanger`, and introduce ourselves.

        Args:
            hostname: our name, for EHLO.
            tls: used if the peer offers STARTTLS; None to stay in plain text.

        Raises:
            TlsFailed: the peer offers STARTTLS and cannot do it.
            NotTransmitted: there is no session.
        """
        try:
            line = await Line.connect(address, exchanger.port, timeouts.connect)
        except OSError as error:
            why = "no connection within time" if isinstance(error, TimeoutError) else _words(error)
            raise NotTransmitted(Refusal(Stage.CONNECT, 0, "", f"{address}: {why}")) from None
        session = cls(exchanger, line, timeouts, {})
        try:
            await session._introduce(hostname, tls)
        except BaseException:
            line.abort()
            raise
        return session

    @property
    def is_usable(self) -> bool:
        """Whether it can carry another mail, as far as we know."""
        return self.line.is_quiet

    def leave(self) -> None:
        """End it with QUIT."""
        self.line.leave()

    def abort(self) -> None:
        """End it at once."""
        self.line.abort()

    async def _introduce(self, hostname: str, tls: ssl.SSLContext | None) -> None:
        greeting = await self._reply(Stage.GREETING, self.timeouts.greeting)
        if greeting.code != 220:
            raise NotTransmitted(greeting.refusal(Stage.GREETING))
        await self._hello(hostname)
        if tls is not None and "STARTTLS" in self.extensions and await self._start_tls(tls):
            await self._hello(hostname)

    async def _hello(self, hostname: str) -> None:
        reply = await self._ask(f"EHLO {hostname}\r\n".encode(), Stage.EHLO, self.timeouts.ehlo)
        self.extensions = _extensions(reply) if reply.is_positive else {}
        if reply.code >= 500:  # RFC 5321 §3.2: it may know HELO only
            reply = await self._ask(f"HELO {hostname}\r\n".encode(), Stage.EHLO, self.timeouts.ehlo)
        if not reply.is_positive:
            raise NotTransmitted(reply.refusal(Stage.EHLO))

    async def _start_tls(self, context: ssl.SSLContext) -> bool:
        self.line.write(b"STARTTLS\r\n")
        try:
            reply = await self.line.reply(self.timeouts.mail)
            if reply.code != 220:
                self.tls_trouble = " ".join(filter(None, reply.parts()))
                return False
            await self.line.start_tls(context, _server_name(self.exchanger.host), self.timeouts.tls)
        except LineLost as error:
            raise TlsFailed(Refusal(Stage.STARTTLS, 0, "", str(error))) from None
        return True

    async def transmit(self, mail: Outgoing, intend: Callable[[], Awaitable[None]]) -> Reply | Refusal:
        """Carry one mail.

        Args:
            intend: awaited right before the final dot; if it raises, the dot is not sent.

        Returns:
            The positive reply to the final dot, or what refused the mail.

        Raises:
            Unsendable: the peer lacks what this mail needs; the session can go on.
            NotTransmitted: the session ended before the final dot.
            Unconfirmed: it ended after it.
        """
        refusal = await self._begin(mail)
        if refusal is not None:
            return refusal
        try:
            last = await self._write_but_last(mail)
            await intend()
        except LineLost as error:
            raise NotTransmitted(Refusal(Stage.DATA, 0, "", str(error))) from None
        if self.line.lost:
            raise NotTransmitted(Refusal(Stage.DATA, 0, "", self.line.lost))
        return await self._end(last)

    async def _begin(self, mail: Outgoing) -> Refusal | None:
        t = self.timeouts
        commands = [
            (Stage.MAIL, mail.mail_command(self.extensions), t.mail),
            (Stage.RCPT, mail.rcpt_command(), t.rcpt),
            (Stage.DATA, b"DATA\r\n", t.data),
        ]
        if self._needs_reset:
            commands.insert(0, (Stage.MAIL, b"RSET\r\n", t.mail))
        self._needs_reset = True
        pipelined = "PIPELINING" in self.extensions
        if pipelined:
            self.line.write(b"".join(command for _, command, _ in commands))
        for following, (stage, command, timeout) in zip(range(len(commands))[::-1], commands, strict=True):
            if not pipelined:
                self.line.write(command)
            reply = await self._reply(stage, timeout)
            if not (reply.code == 354 if stage is Stage.DATA else reply.is_positive):
                await self._skip(following if pipelined else 0)
                return self._refusal(reply, stage)
        return None

    async def _skip(self, count: int) -> None:
        # Answers to commands that went out with the refused one. A peer that wants the message all the same
        # (RFC 2920 §3.1) gets none, not an empty one: without a dot there is no mail.
        try:
            for _ in range(count):
                reply = await self.line.reply(PATIENCE_AFTER_REFUSAL)
                if reply.code in (354, 421):
                    self.line.abort()
        except LineLost:
            pass  # the session is over, but the refusal stands

    def _refusal(self, reply: Reply, stage: Stage) -> Refusal:
        if reply.code == 530 and self.tls_trouble:  # RFC 3207 §4: it wants TLS, and cannot do it itself
            return Refusal(Stage.STARTTLS, 0, "", self.tls_trouble)
        return reply.refusal(stage)

    async def _write_but_last(self, mail: Outgoing) -> bytes:
        last = b""
        for block in mail.blocks():
            if last:
                self.line.write(last)
                await self.line.drained(self.timeouts.block)
            last = block
        return last

    async def _end(self, last: bytes) -> Reply | Refusal:
        self.line.write(last)
        self.mails += 1
        try:
            reply = await self.line.reply(self.timeouts.dot)
        except LineLost as error:
            raise Unconfirmed(str(error)) from None
        if reply.is_positive:
            self._needs_reset = False
            return reply
        if reply.code == 421:
            self.line.abort()
        return reply.refusal(Stage.DOT)

    async def _ask(self, command: bytes, stage: Stage, timeout: float) -> Reply:
        self.line.write(command)
        return await self._reply(stage, timeout)

    async def _reply(self, stage: Stage, timeout: float) -> Reply:
        try:
            reply = await self.line.reply(timeout)
        except LineLost as error:
            raise NotTransmitted(Refusal(stage, 0, "", str(error))) from None
        if reply.code == 421:  # RFC 5321 §3.8: it closes the connection
            raise NotTransmitted(reply.refusal(stage))
        return reply


def _extensions(reply: Reply) -> dict[str, str]:
    found = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.decode("ascii", "replace").partition(" ")
        found[keyword.upper()] = parameters.strip()
    return found


def _server_name(host: str) -> str | None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None  # RFC 6066 §3: an address is no server name


def _words(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
