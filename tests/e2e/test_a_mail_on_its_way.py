"""The whole path of a mail, over gRPC through the separate processes."""

import email
import email.policy
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import dkim
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kannon.adapters.pb import admin_pb2, admin_pb2_grpc
from kannon.core.dkim import dns_record
from tests.e2e.system import ROOT, System, Tenant, wait_until, without_pixel
from tests.smtp_peer import Behaviour, Received, SmtpPeer


def mails_of(sink: SmtpPeer, tenant: Tenant) -> dict[str, Received]:
    return {mail.recipient: mail for mail in sink.received if tenant.domain.encode() in mail.content}


def crlf(content: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", content)


def test_each_recipient_gets_a_mail_of_their_own(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    answer = tenant.send(
        [("one@example.org", {"name": "Öne <b>"}), ("two@example.org", {}), "three@example.org"]
    )
    assert (answer.accepted_count, answer.rejected_count) == (3, 0)
    assert re.fullmatch(rf"msg_[^@]+@{re.escape(tenant.domain)}", answer.message_id)
    counts = tenant.wait_for_end(3)
    assert counts == {"accepted": 3, "delivered": 3}
    mail = mails_of(sink, tenant)["one@example.org"]
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert message["To"] == "one@example.org"
    assert message["From"] == f"Häppy Sender <hello@{tenant.domain}>"
    assert message["Subject"] == "Hello Öne <b>"
    html, text = message.get_body(("html",)), message.get_body(("plain",))
    assert html is not None
    assert without_pixel(html.get_content()).strip() == "<p>Dear Öne &lt;b&gt;, a &amp; b.</p>"
    assert text is not None
    assert "Dear Öne <b>, a & b." in text.get_content()
    others = email.message_from_bytes(mails_of(sink, tenant)["two@example.org"].content)
    assert others["Subject"] == "Hello friend"
    assert others["Message-ID"] != message["Message-ID"]


def test_dkim_verifies_against_the_key_that_the_domain_publishes(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    tenant.send(["signed@example.org"])
    tenant.wait_for_end(1)
    mail = mails_of(sink, tenant)["signed@example.org"]
    shown = subprocess.run(
        [sys.executable, "-m", "kannon.cli", "domain", "show", tenant.domain, "--json"],
        env={**os.environ, "KANNON_API": system.api, "K_API_ADMIN_TOKEN": system.token},
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    records = json.loads(shown.stdout)["records"]
    published = {record["name"]: record["value"] for record in records if record["type"] == "TXT"}
    assert published[f"kannon._domainkey.{tenant.domain}"] == dns_record(tenant.public_key)
    assert {"name": tenant.domain, "type": "MX", "value": "10 <smtp.domain>."} in records

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        value: str = published[name.decode().rstrip(".")]
        return value.encode()

    assert dkim.verify(crlf(mail.content), dnsfunc=look_up)
    assert not dkim.verify(crlf(mail.content).replace(b"Hello", b"Hallo"), dnsfunc=look_up)


def test_the_return_path_is_signed_and_of_the_domain(sink: SmtpPeer, tenant: Tenant) -> None:
    tenant.send(["path@example.org"])
    tenant.wait_for_end(1)
    sender = mails_of(sink, tenant)["path@example.org"].sender
    assert re.fullmatch(rf"bounce\+[a-z2-7]{{40,57}}@{re.escape(tenant.domain)}", sender)


def test_who_cannot_be_mailed_is_rejected_and_the_rest_goes_on(sink: SmtpPeer, tenant: Tenant) -> None:
    answer = tenant.send(
        ["good@example.org", "not an address", "good@EXAMPLE.org", "a@nowhere.test", "b@null.test"]
    )
    rejected = [(one.email, one.reason) for one in answer.rejected_recipients]
    assert rejected == [("not an address", "invalid_email"), ("good@EXAMPLE.org", "duplicate_recipient")]
    assert (answer.accepted_count, answer.rejected_count) == (3, 2)
    counts = tenant.wait_for_end(3)
    assert counts == {"accepted": 1, "delivered": 1, "rejected": 2}
    reasons = {row.email: row.data.rejected.reason for row in tenant.outcomes() if row.type == "rejected"}
    assert reasons == {"a@nowhere.test": "no_such_domain", "b@null.test": "null_mx"}


def test_a_deferred_mail_is_tried_again_and_delivered(sink: SmtpPeer, tenant: Tenant) -> None:
    sink.behaviours["later"] = Behaviour(rcpt="451 4.3.0 come back later", times=2)
    tenant.send(["later@example.org"])
    counts = tenant.wait_for_end(1)
    assert counts == {"accepted": 1, "error": 2, "delivered": 1}
    errors = [row.data.error for row in tenant.outcomes() if row.type == "error"]
    assert [(error.code, "come back" in error.msg) for error in errors] == [(451, True)] * 2
    assert len(mails_of(sink, tenant)) == 1


def test_a_refused_mail_bounces_and_is_not_tried_again(sink: SmtpPeer, tenant: Tenant) -> None:
    sink.behaviours["gone"] = Behaviour(rcpt="550 5.1.1 no such user")
    sink.behaviours["spam"] = Behaviour(dot="554 5.7.1 looks like spam")
    tenant.send(["gone@example.org", "spam@example.org"])
    counts = tenant.wait_for_end(2)
    assert counts == {"accepted": 2, "bounced": 2}
    bounced = {row.email: row.data.bounced for row in tenant.outcomes() if row.type == "bounced"}
    assert {address: (b.permanent, b.code) for address, b in bounced.items()} == {
        "gone@example.org": (True, 550),
        "spam@example.org": (True, 554),
    }
    assert sink.refusals["gone@example.org"] == 1


def test_a_domain_whose_dns_does_not_answer_is_not_rejected(tenant: Tenant) -> None:
    tenant.send(["someone@broken.test"])
    wait_until(lambda: tenant.counts()["error"], 30, "it is deferred")
    assert tenant.counts()["rejected"] == 0


def test_a_scheduled_mail_waits_for_its_time(sink: SmtpPeer, tenant: Tenant) -> None:
    at = datetime.now(UTC) + timedelta(seconds=3)
    when = Timestamp()
    when.FromDatetime(at)
    answer = tenant.send(["patient@example.org"], scheduled_time=when)
    assert answer.scheduled_time == when
    wait_until(lambda: tenant.counts()["accepted"], 3, "it is verified before it is due")
    tenant.wait_for_end(1)
    delivered = next(row for row in tenant.outcomes() if row.type == "delivered")
    assert delivered.timestamp.ToDatetime(UTC) >= at


def test_the_statistics_say_what_the_sink_counted(sink: SmtpPeer, tenant: Tenant) -> None:
    sink.behaviours["no"] = Behaviour(rcpt="550 5.1.1 no")
    many = [f"reader{number}@example.org" for number in range(250)]
    answer = tenant.send([*many, "no@example.org", "x@nowhere.test"])
    assert answer.accepted_count == 252
    counts = tenant.wait_for_end(252)
    assert counts == {"accepted": 251, "delivered": 250, "bounced": 1, "rejected": 1}
    copies = Counter(mail.recipient for mail in sink.received if tenant.domain.encode() in mail.content)
    assert copies == Counter(many)
    rows = Counter(row.type for row in tenant.outcomes())
    assert rows == counts
    assert {row.message_id for row in tenant.outcomes()} == {answer.message_id}


def test_one_tenant_sees_and_sends_nothing_of_another(system: System, tenant: Tenant) -> None:
    other = system.tenant()
    other.send(["theirs@example.org"])
    other.wait_for_end(1)
    assert not tenant.counts()
    with pytest.raises(grpc.RpcError) as refused:
        Tenant(system, other.domain, "", tenant.key).send(["x@example.org"])
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as refused:
        tenant.send(["x@example.org"], sender={"email": f"hello@{other.domain}"})
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_health_is_told_without_credentials(system: System) -> None:
    stub = admin_pb2_grpc.HZServiceStub(system.channel)  # type: ignore[arg-type]  # its types are asyncio's
    answer: Any = stub.HZ(admin_pb2.HZRequest(), timeout=10)
    assert dict(answer.result) == {"database": "OK", "nats": "OK"}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as IPv6 has it, and ::1, as the kernel writes them."""


def test_nothing_of_the_parts_listens_beyond_this_machine(system: System) -> None:
    inodes = _socket_inodes({*system.pids().values(), system.process.pid})
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in (ROOT / f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                listening.add(columns[1].partition(":")[0])
    assert listening
    assert listening <= LOOPBACK


def _socket_inodes(pids: set[int]) -> set[str]:
    found = set()
    for pid in pids:
        for descriptor in (ROOT / f"/proc/{pid}/fd").iterdir():
            try:
                name = str(descriptor.readlink())
            except OSError:
                continue
            if name.startswith("socket:["):
                found.add(name[8:-1])
    return found


def test_no_secret_and_no_whole_address_stands_in_the_logs(system: System, tenant: Tenant) -> None:
    tenant.send(["very-private-name@example.org"])
    tenant.wait_for_end(1)
    data = system.folder / "data"
    secrets = [(data / name).read_text().strip() for name in ("secret", "admin_token", "database_password")]
    secrets.append((data / "nats_password").read_text().strip())
    text = "".join(log.read_text(errors="replace") for log in (data / "logs").iterdir())
    text += (system.folder / "standalone.log").read_text()
    for secret in (*secrets, tenant.key, "very-private-name"):
        assert secret not in text


def test_the_command_sends_and_counts(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    def kannon(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kannon.cli", *words, "--api", system.api],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )

    sent = kannon(
        "send", "--domain", tenant.domain, "--key", tenant.key, "--from", f"me@{tenant.domain}",
        "--to", "cli@example.org", "--to", "cli-too@example.org",
        "--subject", "Hi {{ name }}", "--field", "name=you", "--json",
        stdin="<p>Hello {{ name }}</p>",
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["accepted"] == 2
    tenant.wait_for_end(2)
    assert set(mails_of(sink, tenant)) == {"cli@example.org", "cli-too@example.org"}
    message = email.message_from_bytes(mails_of(sink, tenant)["cli@example.org"].content)
    assert message["Subject"] == "Hi you"
    counted = kannon("stats", tenant.domain, "--json", "--admin-token", system.token)
    assert json.loads(counted.stdout) == {"accepted": 2, "delivered": 2}
    mistyped = kannon("stats", "nope.example", "--admin-token", system.token)
    assert (mistyped.returncode, "nope.example" in mistyped.stderr) == (1, True)
    refused = kannon("stats", tenant.domain, "--admin-token", "wrong")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    bad = kannon(
        "send", "--domain", tenant.domain, "--key", tenant.key, "--from", f"me@{tenant.domain}",
        "--to", "nonsense", "--subject", "x", stdin="<p>x</p>",
    )  # fmt: skip
    assert (bad.returncode, "invalid_email" in bad.stderr) == (1, True)
