"""Mail by the name of a Template, calls that are repeated, and a small call after a huge one."""

import email
import email.policy
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2, admin_pb2_grpc, mailer_pb2, mailer_pb2_grpc, types_pb2
from tests.e2e.system import System, Tenant, wait_until, without_pixel
from tests.smtp_peer import SmtpPeer

HTML = "<p>Dear {{ name }}, welcome to {{ place }}.</p>"


def api(tenant: Tenant) -> Any:
    return admin_pb2_grpc.ApiStub(tenant.system.channel)  # type: ignore[arg-type]


def create_template(tenant: Tenant) -> str:
    request = admin_pb2.CreateTemplateReq(domain=tenant.domain, title="Welcome", html=HTML)
    made = api(tenant).CreateTemplate(request, metadata=tenant.system.admin, timeout=20)
    return str(made.template.template_id)


def send_template(
    tenant: Tenant, template_id: str, recipients: dict[str, str], key: str = "", **more: Any
) -> Any:
    """Send to Recipients with their names."""
    request = mailer_pb2.SendTemplateReq(
        sender=types_pb2.Sender(email=f"hello@{tenant.domain}"),
        subject="Hello {{ name }}",
        template_id=template_id,
        global_fields={"place": "Rome"},
        recipients=[
            types_pb2.Recipient(email=one, fields={"name": name}) for one, name in recipients.items()
        ],
        **more,
    )
    metadata = [*tenant.metadata, *([("idempotency-key", key)] if key else [])]
    stub: Any = mailer_pb2_grpc.MailerStub(tenant.system.channel)  # type: ignore[arg-type]
    return stub.SendTemplate(request, metadata=metadata, timeout=30)


def mails_of(sink: SmtpPeer, tenant: Tenant) -> list[tuple[str, Any]]:
    return [
        (mail.recipient, email.message_from_bytes(mail.content, policy=email.policy.default))
        for mail in sink.received
        if tenant.domain.encode() in mail.content
    ]


def parts_of(message: Any) -> tuple[str, str]:
    """Text, and HTML without its pixel."""
    text, html = (message.get_body((kind,)).get_content().strip() for kind in ("plain", "html"))
    return text, without_pixel(html)


def test_each_recipient_gets_the_template_with_their_own_fields(sink: SmtpPeer, tenant: Tenant) -> None:
    name = create_template(tenant)
    answer = send_template(tenant, name, {"ada@example.org": "Ada <A>", "bob@example.org": "Bob"})
    assert (answer.template_id, answer.accepted_count) == (name, 2)
    assert tenant.wait_for_end(2) == {"accepted": 2, "delivered": 2}
    mails = dict(mails_of(sink, tenant))
    assert mails["ada@example.org"]["Subject"] == "Hello Ada <A>"
    assert parts_of(mails["ada@example.org"]) == (
        "Dear Ada <A>, welcome to Rome.",
        "<p>Dear Ada &lt;A&gt;, welcome to Rome.</p>",
    )
    assert parts_of(mails["bob@example.org"])[0] == "Dear Bob, welcome to Rome."


def test_mail_that_waits_is_sent_as_it_was_accepted_whatever_becomes_of_its_template(
    sink: SmtpPeer, tenant: Tenant
) -> None:
    name = create_template(tenant)
    at = write_timestamp(datetime.now(UTC) + timedelta(seconds=3))
    first = send_template(tenant, name, {"first@example.org": "Ada"}, scheduled_time=at)
    update = admin_pb2.UpdateTemplateReq(template_id=name, html="<p>New for {{ name }}</p>")
    api(tenant).UpdateTemplate(update, metadata=tenant.system.admin, timeout=20)
    second = send_template(tenant, name, {"second@example.org": "Bob"}, scheduled_time=at)
    api(tenant).DeleteTemplate(
        admin_pb2.DeleteTemplateReq(template_id=name), metadata=tenant.system.admin, timeout=20
    )
    assert first.accepted_count == second.accepted_count == 1
    assert not mails_of(sink, tenant)
    assert tenant.wait_for_end(2) == {"accepted": 2, "delivered": 2}
    texts = {recipient: parts_of(message)[0] for recipient, message in mails_of(sink, tenant)}
    assert texts == {
        "first@example.org": "Dear Ada, welcome to Rome.",
        "second@example.org": "New for Bob",
    }
    with pytest.raises(grpc.RpcError) as refused:
        send_template(tenant, name, {"third@example.org": "Eve"})
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_call_repeated_through_a_crash_of_the_gateway_reaches_each_recipient_once(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    name = create_template(tenant)
    readers = {f"reader{number}@example.org": str(number) for number in range(50)}

    def answer() -> Any:
        try:
            return send_template(tenant, name, readers, key="import 7")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return None
            raise

    def until_answered(_: int) -> Any:
        """What a client does whose call breaks off: call again."""
        return wait_until(answer, 60, "the gateway answers")

    with ThreadPoolExecutor(4) as callers:
        answers = callers.map(until_answered, range(4))
        old = system.kill("api-gateway")
        assert len({answer.message_id for answer in answers}) == 1
    system.wait_for_restart("api-gateway", old)
    until_answered(0)
    assert tenant.wait_for_end(50) == {"accepted": 50, "delivered": 50}
    assert Counter(recipient for recipient, _ in mails_of(sink, tenant)) == Counter(readers.keys())


def test_a_small_call_after_a_huge_one_does_not_wait_for_it(own_system: Callable[..., System]) -> None:
    system = own_system(K_SENDER_DEMO_SENDER="true", K_SENDER_ROUTES="*=localhost")
    huge, small = system.tenant(), system.tenant()
    huge.send([f"reader{number}@example.org" for number in range(15_000)])
    small.send([f"one{number}@example.org" for number in range(10)])
    small.wait_for_end(10, within=60)
    assert huge.counts()["delivered"] < 7_500
