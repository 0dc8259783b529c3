"""Settings of the inbound half, and what is made of them."""

from dataclasses import dataclass
from pathlib import Path

from edge_smtp.inbound.certificate import BadCertificate, Certificate
from edge_smtp.inbound.mailboxes import Mailboxes
from edge_smtp.inbound.reception import Reception
from edge_smtp.inbound.server import Offer, ReportServer
from edge_smtp.inbound.session import Bounds
from kannon.core.keys import Purpose
from kannon.core.return_path import KEY_ID
from kannon.ports import Clock, EventPublisher, ObjectStore
from kannon.runtime import settings as s
from kannon.runtime.keys import key_for


@dataclass(frozen=True, slots=True)
class Inbound:
    """The settings for taking reports, read and checked."""

    host: str
    port: int
    mailboxes: Mailboxes
    max_recipients: int
    offer: Offer

    def server(
        self, publisher: EventPublisher, clock: Clock, store: ObjectStore | None = None
    ) -> ReportServer:
        """What takes them, once it is started."""
        reception = Reception(self.mailboxes, publisher, clock, self.max_recipients, store)
        return ReportServer(reception, self.offer)


def read_settings(settings: s.Settings) -> Inbound:
    """What taking reports needs of the settings.

    Raises:
        SettingsError: one is missing or malformed.
    """
    host, port = settings[s.SMTP_ADDRESS]
    domains = (settings[s.SMTP_DOMAIN], *settings[s.SMTP_MAILBOX_DOMAINS])
    keys = {KEY_ID: key_for(settings, Purpose.RETURN_PATHS)}
    return Inbound(
        host=host,
        port=port,
        mailboxes=Mailboxes(
            keys,
            domains,
            settings[s.SMTP_FEEDBACK_ADDRESSES],
            unsubscribing=settings[s.SMTP_UNSUBSCRIBING],
        ),
        max_recipients=settings[s.SMTP_MAX_RECIPIENTS],
        offer=Offer(
            hostname=settings[s.SMTP_DOMAIN],
            bounds=Bounds(
                read=settings[s.SMTP_READ_TIMEOUT].total_seconds(),
                write=settings[s.SMTP_WRITE_TIMEOUT].total_seconds(),
                message=settings[s.SMTP_MESSAGE_TIMEOUT].total_seconds(),
                session=settings[s.SMTP_SESSION_TIMEOUT].total_seconds(),
                payload=settings[s.SMTP_MAX_PAYLOAD],
                errors=settings[s.SMTP_MAX_ERRORS],
            ),
            certificate=_certificate(settings),
            connections=settings[s.SMTP_MAX_CONNECTIONS],
            per_client=settings[s.SMTP_MAX_PER_CLIENT],
        ),
    )


def _certificate(settings: s.Settings) -> Certificate | None:
    certificate, key = settings[s.SMTP_TLS_CERTIFICATE], settings[s.SMTP_TLS_KEY]
    both = f"{s.SMTP_TLS_CERTIFICATE.key} ({s.SMTP_TLS_CERTIFICATE.variable}) and "
    both += f"{s.SMTP_TLS_KEY.key} ({s.SMTP_TLS_KEY.variable})"
    if bool(certificate) != bool(key):
        raise s.SettingsError(f"{both}: one is given without the other")
    if not certificate:
        return None
    try:
        return Certificate(Path(certificate), Path(key))
    except BadCertificate as error:
        raise s.SettingsError(f"{both}: {error}") from None
