"""A report of failure comes back to the return path of a mail that went out."""

import re
import smtplib

import pytest

from tests.e2e.system import System, Tenant, wait_until
from tests.smtp_peer import SmtpPeer

REPORT = (
    b"From: MAILER-DAEMON@example.org\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; example.org\r\n\r\n"
    b"Final-Recipient: rfc822; late@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
)


def reached_at(system: System) -> int:
    """The port that the standalone says reports come to."""
    said = (system.folder / "standalone.log").read_text()
    match = re.search(r"^reports +127\.0\.0\.1:(\d+) \(SMTP\)$", said, re.MULTILINE)
    assert match, said
    return int(match[1])


def test_a_report_finds_its_delivery_and_a_stranger_finds_nobody(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    answer = tenant.send(["late@example.org"])
    tenant.wait_for_end(1)
    [sent] = [mail for mail in sink.received if tenant.domain.encode() in mail.content]
    with smtplib.SMTP("127.0.0.1", reached_at(system), timeout=20) as client:
        client.sendmail("", [sent.sender.upper()], REPORT)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("", [sent.sender.replace("bounce+", "bounce+a")], REPORT)

    def heard() -> list[object]:
        return [line for line in system.logs("bounce") if line["message"] == "report received"]

    [line] = wait_until(heard, 20, "bounce has heard of it")
    assert answer.accepted_count == 1
    [delivery] = line["recipients"]
    assert re.fullmatch(r"return-path \d+\.0", delivery)
    assert line["size"] == len(REPORT)
