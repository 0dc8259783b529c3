"""What is taken, and what is answered: the policy behind the protocol."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from edge_smtp.inbound.lines import Incoming
from edge_smtp.inbound.mailboxes import Mailboxes, NoSuchMailbox
from kannon.core.errors import Unavailable
from kannon.core.payloads import ReportReceived, ReportRecipient
from kannon.ports import Clock, EventPublisher

PUBLISHING_AT_ONCE: Final = 4
"""Reports that are encoded and published at once: the loop is the outbound mail's, too."""
PATIENCE: Final = 15.0
"""Seconds in which a report must be stored, before its client is asked to come again."""
_OFFERED: Final = ("SIZE", "8BITMIME", "SMTPUTF8", "STARTTLS")

log = logging.getLogger(__name__)


class ReportEnvelope(Envelope):
    """An envelope whose recipients are known."""

    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[ReportRecipient] = []


@dataclass
class Reception:
    """Judges recipients and publishes reports; one for all sessions. Its `handle_…` are aiosmtpd's hooks.

    Attributes:
        max_recipients: of one report.
    """

    mailboxes: Mailboxes
    publisher: EventPublisher
    clock: Clock
    max_recipients: int
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PUBLISHING_AT_ONCE))

    async def handle_EHLO(
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """What is offered: of aiosmtpd's own, neither AUTH nor HELP."""
        session.host_name = hostname
        offered = [line[4:] for line in responses[1:] if line[4:].split()[0] in _OFFERED] + ["PIPELINING"]
        return [responses[0], *(f"250-{one}" for one in offered[:-1]), f"250 {offered[-1]}"]

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Whether there is such a mailbox; what is refused here is never bounced later."""
        assert isinstance(envelope, ReportEnvelope)
        if len(envelope.rcpt_tos) >= self.max_recipients:
            return "452 4.5.3 Too many recipients"
        try:
            recipient = self.mailboxes.find(address, self.clock())
        except NoSuchMailbox:
            return "550 5.1.1 No such mailbox here"
        envelope.rcpt_tos.append(address)
        if recipient not in envelope.recipients:
            envelope.recipients.append(recipient)
        return "250 2.1.5 OK"

    async def handle_exception(self, error: Exception) -> str:
        """What a client is told of a mistake of ours: not what it is."""
        log.error("a session failed", exc_info=error)
        return "451 4.3.0 Try again later"

    async def take(self, session: Session, envelope: ReportEnvelope, incoming: Incoming) -> str:
        """Publish a report; the reply says whether it is stored."""
        report = ReportReceived(
            recipients=tuple(envelope.recipients),
            sender="" if envelope.mail_from in (None, "<>") else str(envelope.mail_from),
            client=session.peer[0] if session.peer else "",
            tls=session.ssl is not None,
            at=self.clock(),
            message=incoming.message(),
            truncated=incoming.truncated,
            size=incoming.size,
            digest=incoming.digest,
        )
        told = {
            "client": report.client,
            "size": report.size,
            "recipients": [r.role for r in report.recipients],
        }
        try:
            async with asyncio.timeout(PATIENCE), self._turns:
                await self.publisher.publish(report)
        except (Unavailable, TimeoutError) as error:
            log.warning("report not taken", extra=told | {"reason": str(error) or "no answer in time"})
            return "451 4.3.0 Cannot be stored now, try again later"
        log.info("report taken", extra=told)
        return "250 2.0.0 OK"
