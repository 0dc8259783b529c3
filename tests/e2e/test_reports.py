"""What comes back to the return path of a mail that went out, and what is made of it."""

import json
import re
import smtplib
from collections.abc import Mapping
from typing import Any

import pytest

from tests.commands import Done, kannon
from tests.e2e.system import System, Tenant, wait_until
from tests.reports import AUTO_REPLY, OTHER, complaint, failure
from tests.smtp_peer import SmtpPeer


def reached_at(system: System) -> int:
    """The port that the standalone says reports come to."""
    said = (system.folder / "standalone.log").read_text()
    match = re.search(r"^reports +127\.0\.0\.1:(\d+) \(SMTP\)$", said, re.MULTILINE)
    assert match, said
    return int(match[1])


def bring(system: System, address: str, *reports: bytes) -> None:
    """Bring reports by SMTP, as a receiver's exchanger does."""
    with smtplib.SMTP("127.0.0.1", reached_at(system), timeout=20) as client:
        for report in reports:
            client.sendmail("", [address], report)


def command(system: System, *words: str) -> Done:
    done = kannon("bounces", *words, "--api", system.api, "--admin-token", system.token)
    assert done.code == 0, done.err
    return done


def kept(system: System, tenant: Tenant) -> list[Mapping[str, Any]]:
    """The reports about a domain's mail, newest first."""
    out = command(system, "list", "--domain", tenant.domain, "--json").out
    return [json.loads(line) for line in out.splitlines()]


def wait_for_reports(system: System, tenant: Tenant, count: int) -> list[Mapping[str, Any]]:
    """Wait until so many were judged and kept, with all that follows from them."""
    found: list[Mapping[str, Any]] = wait_until(
        lambda: (reports := kept(system, tenant)) and len(reports) >= count and reports,
        20,
        f"{count} reports are kept",
    )
    return found


def return_path_of_a_delivered_mail(tenant: Tenant, sink: SmtpPeer, address: str) -> str:
    tenant.send([address])
    tenant.wait_for_end(1)
    [sent] = [mail for mail in sink.received if tenant.domain.encode() in mail.content]
    return sent.sender


def test_a_mail_that_was_delivered_and_came_back_bounced_late_and_once(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    back = return_path_of_a_delivered_mail(tenant, sink, "late@example.org")
    report = failure("late@example.org")
    bring(system, back.upper(), report, report, failure("LATE@example.org", status="5.2.1"))
    first, second = wait_for_reports(system, tenant, 2)[::-1]
    assert (first["kind"], first["told"][0]["address"], first["told"][0]["hard"]) == (
        "bounce",
        "late@example.org",
        True,
    )
    assert second["deliveries"] == first["deliveries"]
    assert tenant.counts() == {"accepted": 1, "delivered": 1, "bounced": 1}
    [bounced] = [row for row in tenant.outcomes() if row.type == "bounced"]
    assert (bounced.email, bounced.data.bounced.permanent) == ("late@example.org", True)
    assert bounced.data.bounced.late
    shown = kannon(
        *("deliveries", "show", "late@example.org", "--json", "--api", system.api),
        *("--admin-token", system.token, "--domain", tenant.domain),
    )
    assert json.loads(shown.out)["status"] == "delivered"
    assert [one.reason for one in tenant.send(["late@example.org"]).rejected_recipients] == ["suppressed"]


def test_a_complaint_counts_once_wherever_it_comes_to(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    back = return_path_of_a_delivered_mail(tenant, sink, "annoyed@example.org")
    signed = complaint(original=f"Return-Path: <{back}>\r\n")
    bring(system, "fbl@feedback.sender.test", signed, complaint("Source-IP: 192.0.2.1"))
    bring(system, back, signed)
    assert {report["kind"] for report in wait_for_reports(system, tenant, 2)} == {"complaint"}
    assert tenant.counts() == {"accepted": 1, "delivered": 1, "complained": 1}
    [complained] = [row for row in tenant.outcomes() if row.type == "complained"]
    assert complained.data.complained.category == "abuse"
    refused = tenant.send(["annoyed@example.org"], ignore_suppression=True)
    assert [one.reason for one in refused.rejected_recipients] == ["suppressed"]


def test_what_is_neither_costs_nobody_anything_and_can_be_looked_at(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    back = return_path_of_a_delivered_mail(tenant, sink, "away@example.org")
    delayed = failure("away@example.org", status="4.4.1", action="delayed")
    bring(system, back, AUTO_REPLY, delayed, OTHER)
    reports = wait_for_reports(system, tenant, 3)
    assert sorted(report["kind"] for report in reports) == ["auto-reply", "delayed", "unrecognised"]
    assert tenant.counts() == {"accepted": 1, "delivered": 1}
    listed = command(system, "list", "--domain", tenant.domain, "--kind", "unrecognised")
    number, *fields = listed.out.split("\t")
    assert fields[1:3] == ["unrecognised", tenant.domain]
    assert listed.err == "in 30 days: 1 delayed, 1 auto-reply, 1 unrecognised\n"
    assert command(system, "show", number, "--raw", "-").out == OTHER.decode()
    shown = command(system, "show", number).out
    assert re.search(r"^kind +unrecognised$", shown, re.MULTILINE)
    assert "Is anybody there?" in shown


def test_a_stranger_finds_nobody(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    back = return_path_of_a_delivered_mail(tenant, sink, "ada@example.org")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        bring(system, back.replace("bounce+", "bounce+a"), failure("ada@example.org"))
