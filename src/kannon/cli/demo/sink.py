"""A mail sink on 127.0.0.1: takes every mail and keeps it in memory."""

from dataclasses import dataclass, field

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from kannon.cli.standalone.listening import free_port


@dataclass(frozen=True, slots=True)
class Received:
    """One mail, as it came."""

    recipient: str
    content: bytes


@dataclass
class Sink:
    """Listens while it is used as a context."""

    port: int = field(default_factory=free_port)
    mails: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep a mail (aiosmtpd's hook)."""
        assert isinstance(envelope.content, bytes)
        self.mails.extend(Received(recipient, envelope.content) for recipient in envelope.rcpt_tos)
        return "250 2.0.0 kept"

    def __enter__(self) -> "Sink":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
