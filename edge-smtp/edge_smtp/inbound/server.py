"""Listens for reports, lets in as many clients as is bearable, and stops in order."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from edge_smtp.inbound.admission import Admission
from edge_smtp.inbound.certificate import Certificate
from edge_smtp.inbound.reception import Reception
from edge_smtp.inbound.session import Bounds, ReportSession
from kannon.core.errors import KannonError

_BACKLOG: Final = 128
_BUSY: Final = b"421 4.7.0 Too many connections, come again later\r\n"

log = logging.getLogger(__name__)


class CannotListenForReports(KannonError):
    """The address cannot be listened on; the text names it and its setting."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What clients find.

    Attributes:
        hostname: in the greeting.
        certificate: for STARTTLS; None if it is not offered.
        connections: at once.
        per_client: of them, from one client.
    """

    hostname: str
    bounds: Bounds
    certificate: Certificate | None
    connections: int
    per_client: int


class ReportServer:
    """Takes connections of clients that bring reports."""

    def __init__(self, reception: Reception, offer: Offer) -> None:
        self._reception = reception
        self._offer = offer
        self._admission = Admission(offer.connections, offer.per_client)
        self._sessions: dict[ReportSession, str] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen.

        Returns:
            The port; another than `port` if that is 0.

        Raises:
            CannotListenForReports: the address is taken, or not ours to take.
        """
        # It logs each command with its addresses; what matters is logged here.
        logging.getLogger("mail.log").disabled = True
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Door(self._admit), host, port, backlog=_BACKLOG)
        except OSError as error:
            raise CannotListenForReports(
                f"smtp.address (K_SMTP_ADDRESS): cannot listen on {host}:{port}: {error.strerror}; ports "
                "below 1024 may need root, or net.ipv4.ip_unprivileged_port_start to be lowered"
            ) from None
        bound: int = self._server.sockets[0].getsockname()[1]
        log.info("taking reports", extra={"host": host, "port": bound})
        return bound

    async def stop(self, seconds: float) -> None:
        """Take no more connections and messages; what is coming in has that long to end."""
        if self._server is None:
            return
        self._server.close()
        for session in list(self._sessions):
            session.stop()
        try:
            async with asyncio.timeout(seconds):
                await self._none_left.wait()
        except TimeoutError:
            log.warning("sessions broken off", extra={"sessions": len(self._sessions)})
        for session in list(self._sessions):
            session.abort()

    def _admit(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        client = self._admission.enter(peer[0] if peer else "")
        if client is None:
            transport.write(_BUSY)
            transport.close()
            return
        certificate = self._offer.certificate
        session = ReportSession(
            self._reception,
            self._offer.bounds,
            self._offer.hostname,
            certificate.context() if certificate else None,
            self._left,
        )
        self._sessions[session] = client
        self._none_left.clear()
        transport.set_protocol(session)
        session.connection_made(transport)

    def _left(self, session: ReportSession) -> None:
        self._admission.leave(self._sessions.pop(session))
        if not self._sessions:
            self._none_left.set()


class _Door(asyncio.Protocol):
    """Stands for a session until it is known whether there is room for one, which costs far more."""

    def __init__(self, admit: Callable[[asyncio.Transport], None]) -> None:
        self._admit = admit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._admit(cast("asyncio.Transport", transport))
