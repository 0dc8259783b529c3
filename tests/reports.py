"""Reports as they come in, for tests of what becomes of them."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import ReportJudged, ReportReceived, ReportRecipient, ReportRole
from kannon.core.reports.values import Action, Kind, Reported
from kannon.core.return_path import KEY_ID, mint
from tests.mail import DOMAIN, NOW

KEY = bytes(range(32))
KEYS = {KEY_ID: KEY}


def return_path(seq: int = 0, batch: int = 7, key: bytes = KEY, expires_at: datetime = NOW) -> str:
    """The return path of a Delivery; good until a day after `expires_at`."""
    return mint(key, KEY_ID, batch, seq, expires_at + timedelta(days=1), DOMAIN)


def failure(*addresses: str, status: str = "5.1.1", action: str = "failed") -> bytes:
    """A delivery status notification of these recipients."""
    told = "".join(
        f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n\r\n"
        for address in addresses
    )
    return (
        "From: MAILER-DAEMON@example.org\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; example.org\r\n\r\n"
        f"{told}--b--\r\n"
    ).encode()


def complaint(*fields: str, original: str = "", feedback: str = "abuse") -> bytes:
    """A complaint in the Abuse Reporting Format.

    Args:
        fields: more lines of the report.
        original: the header of the mail complained of.
    """
    more = "".join(f"{field}\r\n" for field in fields)
    return (
        "From: fbl@example.net\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {feedback}\r\nVersion: 1\r\nUser-Agent: fbl/1\r\n{more}\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{original}Subject: News\r\n\r\nBuy.\r\n--b--\r\n"
    ).encode()


AUTO_REPLY = (
    b"From: Ada <ada@example.org>\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\n"
    b"I am away until Monday.\r\n"
)
OTHER = b"From: Ada <ada@example.org>\r\nSubject: Hello\r\n\r\nIs anybody there?\r\n"


def received(message: bytes, *recipients: ReportRecipient) -> ReportReceived:
    """A report as the edge publishes it, to the return path of Delivery 7.0 if to nobody else."""
    to = recipients or (ReportRecipient(ReportRole.RETURN_PATH, DOMAIN, DeliveryId(7, 0)),)
    digest = hashlib.sha256(message).hexdigest()
    return ReportReceived(to, "", "192.0.2.1", False, NOW, message, False, len(message), digest)


def judged(kind: Kind, *told: Reported, **changes: object) -> ReportJudged:
    """A report about Delivery 7.0, as bounce judges it."""
    report = ReportJudged(
        recipients=(ReportRecipient(ReportRole.RETURN_PATH, DOMAIN, DeliveryId(7, 0)),),
        deliveries=(DeliveryId(7, 0),),
        kind=kind,
        reason="",
        told=told,
        sender="",
        client="192.0.2.1",
        at=NOW,
        size=22,
        digest=f"{kind}",
        head=b"Subject: failure\r\n\r\n\xff\0",
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def failed(address: str, *, hard: bool = True, action: Action = Action.FAILED) -> Reported:
    """What a report says of a recipient for whom it failed."""
    return Reported(address, action, "5.1.1", 550, "bad-mailbox", hard, "no such user", "mx.example.org")
