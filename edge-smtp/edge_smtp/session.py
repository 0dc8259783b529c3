"""An SMTP session with one exchanger: mails over an opened connection (RFC 5321 §3.3, RFC 2920)."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from edge_smtp.line import Line, LineLost
from edge_smtp.opening import NotTransmitted, Timeouts, introduce
from edge_smtp.outgoing import Outgoing
from edge_smtp.replies import Reply
from kannon.core.exchangers import Exchanger
from kannon.core.replies import Refusal, Stage

PATIENCE_AFTER_REFUSAL: Final = 5.0
"""Seconds for the answers to commands that were sent along with the one that was refused."""


class Unconfirmed(Exception):
    """The session ended after the final dot without a reply: the mail may have been delivered."""


@dataclass(slots=True)
class Session:
    """An open session, ready for mail. Open it with `open`; after an exception it is of no more use.

    Attributes:
        extensions: what the peer offers, by keyword in upper case, with its parameters.
        mails: how many it has carried.
        tls_trouble: why this session, or an earlier one with this peer, could not be encrypted.
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
        """A new one with `address` of `exchanger`; see `introduce`."""
        opened = await introduce(exchanger, address, hostname, timeouts, tls)
        return cls(exchanger, opened.line, timeouts, opened.extensions, tls_trouble=opened.tls_trouble)

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

    async def _reply(self, stage: Stage, timeout: float) -> Reply:
        try:
            reply = await self.line.reply(timeout)
        except LineLost as error:
            raise NotTransmitted(Refusal(stage, 0, "", str(error))) from None
        if reply.code == 421:  # RFC 5321 §3.8: it closes the connection
            raise NotTransmitted(reply.refusal(stage))
        return reply
