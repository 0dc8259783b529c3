"""What is taken, and what is answered: the policy behind the protocol."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from edge_smtp.inbound.lines import Incoming
from edge_smtp.inbound.mailboxes import Mailboxes, NoSuchMailbox
from kannon.core.errors import Unavailable
from kannon.core.payloads import MAX_REPORT_BYTES, MAX_REPORT_HEAD, ReportReceived, ReportRecipient
from kannon.core.stored_objects import REPORTS, REPORTS_STORED_FOR, StoredObject, passing_name
from kannon.ports import Clock, EventPublisher, ObjectStore
from kannon.telemetry.catalogue import REPORTS as TOLD_REPORTS

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
        store: for reports that do not fit into an event; None where none is set up: then they are cut.
    """

    mailboxes: Mailboxes
    publisher: EventPublisher
    clock: Clock
    max_recipients: int
    store: ObjectStore | None = None
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PUBLISHING_AT_ONCE))

    def incoming(self, largest: int) -> Incoming:
        """What takes a message that comes in.

        Args:
            largest: octets of the largest that is taken.
        """
        return Incoming(MAX_REPORT_BYTES if self.store is None else max(largest + 2, MAX_REPORT_BYTES))

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
        client = session.peer[0] if session.peer else ""
        told = {
            "client": client,
            "size": incoming.size,
            "recipients": [r.role for r in envelope.recipients],
        }
        try:
            async with asyncio.timeout(PATIENCE), self._turns:
                message, stored = await self._stored(incoming.message())
                await self.publisher.publish(
                    ReportReceived(
                        recipients=tuple(envelope.recipients),
                        sender="" if envelope.mail_from in (None, "<>") else str(envelope.mail_from),
                        client=client,
                        tls=session.ssl is not None,
                        at=self.clock(),
                        message=message,
                        truncated=incoming.truncated or stored is not None,
                        size=incoming.size,
                        digest=incoming.digest,
                        stored=stored,
                    )
                )
        except (Unavailable, TimeoutError) as error:
            TOLD_REPORTS.add(1, "put_off")
            log.warning("report not taken", extra=told | {"reason": str(error) or "no answer in time"})
            return "451 4.3.0 Cannot be stored now, try again later"
        TOLD_REPORTS.add(1, "taken")
        log.info("report taken", extra=told)
        return "250 2.0.0 OK"

    async def _stored(self, message: bytes) -> tuple[bytes, StoredObject | None]:
        """What goes with the event, and where the rest is; raises StoreUnavailable."""
        if self.store is None or len(message) <= MAX_REPORT_BYTES:
            return message, None
        digest = await asyncio.to_thread(lambda: hashlib.sha256(message).hexdigest())
        name = passing_name(REPORTS, self.clock() + REPORTS_STORED_FOR, digest)
        await self.store.put(name, message)
        return message[:MAX_REPORT_HEAD], StoredObject(name, len(message), digest)
