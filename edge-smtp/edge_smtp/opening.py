"""How a session begins: aiosmtplib takes it through greeting, EHLO and STARTTLS, then a Line takes over."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self, cast

from aiosmtplib import (
    SMTP,
    SMTPConnectTimeoutError,
    SMTPException,
    SMTPReadTimeoutError,
    SMTPResponse,
    SMTPResponseException,
)

from edge_smtp.line import Line
from edge_smtp.replies import Reply
from kannon.core.exchangers import Exchanger
from kannon.core.replies import Refusal, Stage


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a peer (RFC 5321 §4.5.3.2).

    Attributes:
        tls: for the reply to STARTTLS, and as much for the handshake.
    """

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


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection on which we have introduced ourselves.

    Attributes:
        extensions: what the peer offers, by keyword in upper case, with its parameters.
        tls_trouble: what it said when it refused STARTTLS.
    """

    line: Line
    extensions: dict[str, str]
    tls_trouble: str


async def introduce(
    exchanger: Exchanger, address: str, hostname: str, timeouts: Timeouts, tls: ssl.SSLContext | None
) -> Opened:
    """Connect to `address` of `exchanger`, and introduce ourselves.

    Args:
        hostname: our name, for EHLO.
        tls: used if the peer offers STARTTLS; None to stay in plain text.

    Raises:
        TlsFailed: the peer offers STARTTLS and cannot do it.
        NotTransmitted: there is no session.
    """
    with ExitStack() as undo:
        sock = await _connect(address, exchanger.port, timeouts.connect)
        undo.callback(sock.close)
        smtp = SMTP(local_hostname=hostname, sock=sock, start_tls=False, tls_context=tls)
        await _greet(smtp, timeouts)
        undo.callback(_transport(smtp).abort)
        trouble = ""
        await _hello(smtp, timeouts)
        if tls is not None and smtp.supports_extension("STARTTLS"):
            trouble = await _start_tls(smtp, exchanger.host, timeouts)
            if not trouble:
                await _hello(smtp, timeouts)
        opened = _hand_over(smtp, trouble)
        undo.pop_all()
    return opened


async def _connect(address: str, port: int, timeout: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except OSError as error:
        sock.close()
        why = "no connection within time" if isinstance(error, TimeoutError) else _words(error)
        raise NotTransmitted(Refusal(Stage.CONNECT, 0, "", f"{address}: {why}")) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _greet(smtp: SMTP, timeouts: Timeouts) -> None:
    greeting = await _reply(Stage.GREETING, smtp.connect(timeout=timeouts.greeting), timeouts.greeting)
    if greeting.code != 220:
        raise NotTransmitted(greeting.refusal(Stage.GREETING))


async def _hello(smtp: SMTP, timeouts: Timeouts) -> None:
    reply = await _reply(Stage.EHLO, smtp.ehlo(timeout=timeouts.ehlo), timeouts.ehlo)
    if reply.code >= 500:  # RFC 5321 §3.2: it may know HELO only
        reply = await _reply(Stage.EHLO, smtp.helo(timeout=timeouts.ehlo), timeouts.ehlo)
    if not reply.is_positive:
        raise NotTransmitted(reply.refusal(Stage.EHLO))


async def _start_tls(smtp: SMTP, host: str, timeouts: Timeouts) -> str:
    """Go on encrypted; returns what the peer says if it would rather not."""
    asking = smtp.starttls(server_hostname=_server_name(host), timeout=timeouts.tls)
    try:
        reply = await _reply(Stage.STARTTLS, asking, timeouts.tls)
        if reply.code == 220:
            _transport(smtp)  # the handshake may have been the last that it did
            return ""
    except NotTransmitted as failure:
        raise TlsFailed(failure.refusal) from None
    return " ".join(filter(None, reply.parts())) or str(reply.code)


async def _reply(stage: Stage, asking: Awaitable[SMTPResponse], timeout: float) -> Reply:
    """The peer's reply, whichever it is."""
    try:
        code, message = await asking
    except SMTPResponseException as error:
        code, message = error.code, error.message
    except (SMTPReadTimeoutError, SMTPConnectTimeoutError):
        raise NotTransmitted(Refusal(stage, 0, "", f"no answer within {timeout:g} s")) from None
    except OSError as error:  # TLS errors, and what else aiosmtplib makes of the end of a connection
        raise NotTransmitted(Refusal(stage, 0, "", _why(stage, error))) from None
    if not 200 <= code < 600:  # it takes any number for a code, and says -1 where there is none
        raise NotTransmitted(Refusal(stage, 0, "", "a reply that is no SMTP reply"))
    return Reply(code, tuple(message.encode("utf-8", "surrogateescape").split(b"\n")))


def _transport(smtp: SMTP) -> asyncio.Transport:
    if smtp.transport is None or not smtp.is_connected:
        raise NotTransmitted(Refusal(Stage.EHLO, 0, "", "the connection ended"))
    return cast("asyncio.Transport", smtp.transport)


def _hand_over(smtp: SMTP, tls_trouble: str) -> Opened:
    """Take the connection from aiosmtplib; what it has read and nobody asked for stays behind."""
    line = Line(_transport(smtp))
    smtp.protocol = smtp.transport = None  # it is not to close what is ours
    extensions = {keyword.upper(): parameters for keyword, parameters in smtp.esmtp_extensions.items()}
    return Opened(line, extensions, tls_trouble)


def _server_name(host: str) -> str | None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None  # RFC 6066 §3: an address is no server name


def _why(stage: Stage, error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, SMTPException):
        return "the connection ended"
    reason = getattr(error, "reason", None) or error
    return f"TLS: {reason}" if stage is Stage.STARTTLS else f"the connection ended ({reason})"


def _words(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
