"""Clients that others wrote, against a whole Kannon: what they are answered, and what arrived."""

import base64
import email
import email.policy
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from kannon.adapters.pb import admin_pb2, admin_pb2_grpc, mailer_pb2
from tests.e2e.system import System, Tenant
from tests.node_clients import run
from tests.smtp_peer import SmtpPeer

FILE, CONTENT = "März.bin", bytes(range(256)) * 300
OFFER = "Grüße & 10% off"
pytestmark = pytest.mark.timeout(240)  # the first of them installs


def by_kannon_js(system: System, tenant: Tenant, *calls: dict[str, Any], key: str = "") -> list[Any]:
    """What kannon.js is answered."""
    told = {
        "host": system.api,
        "domain": tenant.domain,
        "key": key or tenant.key,
        "sender": {"email": f"hello@{tenant.domain}", "alias": "Häppy Sender"},
        "calls": calls,
    }
    answers: list[Any] = run("kannon_js.js", told)
    return answers


def arrived(sink: SmtpPeer, tenant: Tenant) -> dict[str, Any]:
    """Mails by recipient."""
    return {
        mail.recipient: email.message_from_bytes(mail.content, policy=email.policy.default)
        for mail in sink.received
        if tenant.domain.encode() in mail.content
    }


def test_kannon_js_sends_html_and_templates_with_fields(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    stub = admin_pb2_grpc.ApiStub(system.channel)  # type: ignore[arg-type]
    wanted = admin_pb2.CreateTemplateReq(domain=tenant.domain, html="<b>Bye {{name}}</b>", title="Bye")
    template: Any = stub.CreateTemplate(wanted, metadata=system.admin)
    html, other = by_kannon_js(
        system,
        tenant,
        {
            "html": "<p>Dear {{ name }}</p>",
            "subject": "Hello {{ name }}",
            "recipients": [
                {"email": "one@example.org", "fields": {"name": "Öne"}},
                {"email": "two@example.org", "fields": {"name": "Two"}},
            ],
        },
        {
            "template": template.template.template_id,
            "subject": "Bye",
            "recipients": [{"email": "three@example.org", "fields": {"name": "Three"}}],
        },
    )
    assert html["messageId"].endswith(f"@{tenant.domain}")
    assert other["templateId"] == template.template.template_id
    tenant.wait_for_end(3)
    mails = arrived(sink, tenant)
    assert {to: mail["Subject"] for to, mail in mails.items()} == {
        "one@example.org": "Hello Öne",
        "two@example.org": "Hello Two",
        "three@example.org": "Bye",
    }
    assert {mail["From"] for mail in mails.values()} == {f"Häppy Sender <hello@{tenant.domain}>"}
    assert "Dear Öne" in mails["one@example.org"].get_body(("html",)).get_content()
    assert "<b>Bye Three</b>" in mails["three@example.org"].get_body(("html",)).get_content()


def test_kannon_js_sends_at_a_time_of_its_choice(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    due = time.monotonic() + 3
    soon, later = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (3, 86_400))
    calls = [
        {"html": "<p>x</p>", "subject": "x", "recipients": [{"email": f"{name}@example.org", "fields": {}}]}
        for name in ("soon", "later")
    ]
    for call, at in zip(calls, (soon, later), strict=True):
        call["at"] = at.isoformat(timespec="milliseconds")
    answers = by_kannon_js(system, tenant, *calls)
    for answer, wanted in zip(answers, (soon, later), strict=True):
        assert abs(datetime.fromisoformat(answer["scheduledTime"]) - wanted) < timedelta(milliseconds=1)
    tenant.wait_for_end(1)
    assert set(arrived(sink, tenant)) == {"soon@example.org"}
    (mail,) = [mail for mail in sink.received if mail.recipient == "soon@example.org"]
    assert mail.at >= due - 0.05


def test_kannon_js_is_told_what_is_wrong(system: System, tenant: Tenant) -> None:
    call = {"html": "<p>x</p>", "subject": "a\nb", "recipients": []}
    ((bad,), (unknown,)) = (
        by_kannon_js(system, tenant, call),
        by_kannon_js(system, tenant, call, key="k_" + "0" * 64),
    )
    assert bad["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert bad["details"].startswith("subject: ")
    assert unknown == {
        "code": grpc.StatusCode.UNAUTHENTICATED.value[0],
        "details": "the credentials are missing or not valid",
    }


def check_file_and_global_field(mail: Any) -> None:
    """The file is in the mail, and the value of a field that all Recipients have."""
    (file,) = mail.iter_attachments()
    assert (file.get_filename(), file.get_content()) == (FILE, CONTENT)
    assert "Grüße &amp; 10% off" in mail.get_body(("html",)).get_content()


def test_kannon_js_sends_files_and_global_fields_by_its_own_client(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    told = {
        "host": system.api,
        "domain": tenant.domain,
        "key": tenant.key,
        "sender": {"email": f"hello@{tenant.domain}", "alias": "Hello"},
        "subject": "Hello {{ name }}",
        "html": "<p>{{ offer }}</p>",
        "recipients": [{"email": "one@example.org", "fields": {"name": "One"}}],
        "attachments": [{"filename": FILE, "content": base64.b64encode(CONTENT).decode()}],
        "globalFields": {"offer": OFFER},
    }
    assert run("kannon_js_more.js", told)["messageId"].endswith(f"@{tenant.domain}")
    tenant.wait_for_end(1)
    (mail,) = arrived(sink, tenant).values()
    assert mail["Subject"] == "Hello One"
    check_file_and_global_field(mail)


def descriptors() -> str:
    """Everything that the service of mailers consists of, for a client that has no code of it."""
    files: dict[str, FileDescriptorProto] = {}

    def collect(file: Any) -> None:
        for dependency in file.dependencies:
            collect(dependency)
        files[file.name] = FileDescriptorProto.FromString(file.serialized_pb)
        for message in files[file.name].message_type:
            for field in message.field:  # protoc leaves these to whoever reads them
                found = file.message_types_by_name[message.name].fields_by_name[field.name]
                field.json_name = found.json_name

    collect(mailer_pb2.DESCRIPTOR)
    return base64.b64encode(FileDescriptorSet(file=files.values()).SerializeToString()).decode()


def test_the_client_of_connect_sends_by_each_protocol(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    credentials = base64.b64encode(f"{tenant.domain}:{tenant.key}".encode()).decode()
    told = {
        "url": f"http://{system.api}",
        "descriptors": descriptors(),
        "service": "pkg.kannon.mailer.apiv1.Mailer",
        "method": "SendHTML",
        "headers": {"authorization": f"Basic {credentials}"},
        "request": {
            "sender": {"email": f"hello@{tenant.domain}"},
            "subject": "Hello",
            "html": "<p>{{ offer }}</p>",
            "recipients": [{"email": "one@example.org"}, {"email": "nobody"}],
            "attachments": [{"filename": FILE, "content": base64.b64encode(CONTENT).decode()}],
            "globalFields": {"offer": OFFER},
        },
    }
    answers = run("connect.js", told)
    assert set(answers) == {"Connect JSON", "Connect protobuf", "gRPC-Web", "gRPC"}
    for answer in answers.values():
        assert answer.get("acceptedCount") == 1, answer
        assert answer["rejectedRecipients"] == [{"email": "nobody", "reason": "invalid_email"}]
    tenant.wait_for_end(4)
    assert set(arrived(sink, tenant)) == {"one@example.org"}
    mails = [mail.content for mail in sink.received if tenant.domain.encode() in mail.content]
    assert len(mails) == 4
    for mail in mails:
        check_file_and_global_field(email.message_from_bytes(mail, policy=email.policy.default))
    refused = run("connect.js", told | {"headers": {}})
    said = {"code": "Unauthenticated", "message": "the credentials are missing or not valid"}
    assert refused == dict.fromkeys(answers, said), json.dumps(refused)
