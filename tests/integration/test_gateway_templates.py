"""Templates over gRPC, mail that is sent by their names, and calls that are repeated under a key."""

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from kannon.adapters.pb.mailer_pb2 import SendTemplateReq
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from tests.conftest import Eventually
from tests.gateway_client import (
    Client,
    Tenant,
    basic,
    method_named,
    refusal,
    rows,
    running_gateway,
)

HTML = "<p>Hello {{ name }}</p>"
NO_TEMPLATE = "template_id: there is no template of that name"


async def admin(client: Client, procedure: str, **fields: Any) -> Any:
    request = GetMessageClass(method_named(f"Api/{procedure}").input_type)()
    return await client.admin(f"Api/{procedure}", ParseDict(fields, request))


async def create(tenant: Tenant, title: str = "Welcome", html: str = HTML) -> Any:
    answer = await admin(tenant.client, "CreateTemplate", domain=tenant.domain, title=title, html=html)
    return answer.template


async def send_template(tenant: Tenant, template_id: str, *recipients: str, **changes: Any) -> Any:
    headers = {name: changes.pop(name) for name in ("idempotency_key",) if name in changes}
    fields: dict[str, Any] = {
        "sender": Sender(email=f"news@{tenant.domain}"),
        "subject": "Hello",
        "template_id": template_id,
        "recipients": [Recipient(email=address) for address in recipients],
    }
    return await tenant.client.call(
        "Mailer/SendTemplate",
        SendTemplateReq(**(fields | changes)),
        authorization=basic(tenant.domain, tenant.key),
        **headers,
    )


async def keyed(tenant: Tenant, key: str, *recipients: str, **changes: Any) -> Any:
    return await tenant.client.call(
        "Mailer/SendHTML",
        tenant.mail(*recipients, **changes),
        authorization=basic(tenant.domain, tenant.key),
        idempotency_key=key,
    )


def body_of(url: str, message_id: str) -> tuple[str, str]:
    text = "SELECT html, text FROM messages m JOIN bodies b ON b.number = m.body WHERE message_id = %s"
    (row,) = rows(url, text, message_id)
    return row["html"], row["text"]


def batches_of(url: str, domain: str) -> list[str]:
    return [row["message_id"] for row in rows(url, "SELECT * FROM messages WHERE domain = %s", domain)]


async def test_a_template_from_its_making_to_its_end(client: Client, tenant: Tenant) -> None:
    made = await create(tenant)
    assert made.template_id.endswith(f"@{tenant.domain}")
    assert (made.title, made.html, made.type) == ("Welcome", HTML, "template")
    name = made.template_id
    assert (await admin(client, "GetTemplate", templateId=name)).template == made

    renamed = (await admin(client, "UpdateTemplate", templateId=name, title="Hi")).template
    assert (renamed.title, renamed.html) == ("Hi", HTML)
    rewritten = (await admin(client, "UpdateTemplate", templateId=name, html="<p>x</p>")).template
    assert (rewritten.title, rewritten.html) == ("Hi", "<p>x</p>")

    assert (await admin(client, "DeleteTemplate", templateId=name)).template == rewritten
    for procedure in ("GetTemplate", "DeleteTemplate"):
        refused = await refusal(admin(client, procedure, templateId=name))
        assert refused == (StatusCode.NOT_FOUND, NO_TEMPLATE)


async def test_templates_are_listed_by_the_page_and_transient_ones_are_not(
    client: Client, tenant: Tenant
) -> None:
    names = [(await create(tenant, str(number))).template_id for number in range(3)]
    transient = (await tenant.send("a@b.test")).template_id
    page = await admin(client, "GetTemplates", domain=tenant.domain, skip=1, take=1)
    assert (page.total, [template.template_id for template in page.templates]) == (3, names[1:2])
    everything = await admin(client, "GetTemplates", domain=tenant.domain)
    assert [template.template_id for template in everything.templates] == names
    assert (await admin(client, "GetTemplate", templateId=transient)).template.type == "transient"
    other = await client.tenant()
    assert (await admin(client, "GetTemplates", domain=other.domain)).total == 0


@pytest.mark.parametrize(
    ("procedure", "fields", "code", "text"),
    [
        ("CreateTemplate", {"domain": "x", "html": HTML}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("CreateTemplate", {"domain": "none.test", "html": HTML}, StatusCode.NOT_FOUND, "there is no domain"),
        ("CreateTemplate", {"domain": "none.test", "title": "\n"}, StatusCode.INVALID_ARGUMENT, "title: "),
        (
            "CreateTemplate",
            {"domain": "none.test", "title": "x" * 201},
            StatusCode.INVALID_ARGUMENT,
            "title: ",
        ),
        ("UpdateTemplate", {"templateId": "x"}, StatusCode.INVALID_ARGUMENT, "html, title: "),
        ("UpdateTemplate", {"templateId": "x", "html": "\0"}, StatusCode.INVALID_ARGUMENT, "html: "),
        ("UpdateTemplate", {"templateId": "x", "title": "y"}, StatusCode.NOT_FOUND, NO_TEMPLATE),
        ("GetTemplate", {"templateId": "a\0"}, StatusCode.NOT_FOUND, NO_TEMPLATE),
        ("DeleteTemplate", {}, StatusCode.NOT_FOUND, NO_TEMPLATE),
        ("GetTemplates", {"domain": "none.test"}, StatusCode.NOT_FOUND, "there is no domain none.test"),
        ("GetTemplates", {"domain": "a.test", "take": 1001}, StatusCode.INVALID_ARGUMENT, "take: "),
    ],
)
async def test_what_admins_ask_wrongly(
    client: Client, procedure: str, fields: dict[str, Any], code: StatusCode, text: str
) -> None:
    refused, said = await refusal(admin(client, procedure, **fields))
    assert refused is code
    assert said.startswith(text)


@pytest.mark.parametrize("html", ["", "<script>{{ name }}</script>", "<p>x" + "words and " * 40_000])
async def test_html_that_cannot_be_sent_is_not_stored(tenant: Tenant, html: str) -> None:
    code, said = await refusal(create(tenant, html=html))
    assert (code, said[:6]) == (StatusCode.INVALID_ARGUMENT, "html: ")


async def test_a_mail_by_a_templates_name(tenant: Tenant, database_url: str, eventually: Eventually) -> None:
    name = (await create(tenant)).template_id
    answer = await send_template(tenant, name, "a@b.test", "nobody", "c@d.test")
    assert answer.template_id == name
    assert (answer.accepted_count, answer.rejected_count) == (2, 1)
    assert body_of(database_url, answer.message_id) == (HTML, "Hello {{ name }}")
    text = "SELECT announced_seq FROM messages WHERE message_id = %s"
    await eventually(lambda: rows(database_url, text, answer.message_id)[0]["announced_seq"] == 2)


async def test_the_template_of_a_call_can_be_sent_again(tenant: Tenant, database_url: str) -> None:
    first = await tenant.send("a@b.test")
    again = await send_template(tenant, first.template_id, "c@d.test")
    assert again.template_id == first.template_id
    assert again.message_id != first.message_id
    assert body_of(database_url, again.message_id) == body_of(database_url, first.message_id)


async def test_a_batch_keeps_the_body_it_was_accepted_with(
    client: Client, tenant: Tenant, database_url: str
) -> None:
    name = (await create(tenant)).template_id
    first = await send_template(tenant, name, "a@b.test")
    await admin(client, "UpdateTemplate", templateId=name, html="<p>New</p>")
    second = await send_template(tenant, name, "a@b.test")
    await admin(client, "DeleteTemplate", templateId=name)
    assert body_of(database_url, first.message_id)[0] == HTML
    assert body_of(database_url, second.message_id)[0] == "<p>New</p>"
    assert await refusal(send_template(tenant, name, "a@b.test")) == (StatusCode.NOT_FOUND, NO_TEMPLATE)


async def test_another_tenants_template_is_as_unknown_as_any(client: Client, tenant: Tenant) -> None:
    other = await client.tenant()
    theirs = (await create(other)).template_id
    for name in (theirs, f"none@{tenant.domain}", "", "x\0"):
        refused = await refusal(send_template(tenant, name, "a@b.test"))
        assert refused == (StatusCode.NOT_FOUND, NO_TEMPLATE)


async def test_fields_are_checked_against_the_stored_body(tenant: Tenant) -> None:
    name = (await create(tenant, html="<a href='{{ link }}'>x</a>")).template_id
    code, said = await refusal(
        send_template(tenant, name, "a@b.test", global_fields={"link": "javascript:x"})
    )
    assert (code, said.partition(":")[0]) == (StatusCode.INVALID_ARGUMENT, "global_fields.link")


async def test_a_call_repeated_under_its_key_is_one_batch(
    tenant: Tenant, database_url: str, nats_url: str
) -> None:
    first = await keyed(tenant, "key 1", "a@b.test", "nobody")
    assert await keyed(tenant, "key 1", "a@b.test", "nobody") == first
    async with running_gateway(database_url, nats_url) as restarted:
        elsewhere = Tenant(restarted, tenant.domain, tenant.key)
        assert await keyed(elsewhere, "key 1", "a@b.test", "nobody") == first
    assert batches_of(database_url, tenant.domain) == [first.message_id]
    assert (await keyed(tenant, "key 2", "a@b.test", "nobody")).message_id != first.message_id


async def test_many_equal_calls_at_once_are_one_batch(
    tenant: Tenant, database_url: str, nats_url: str
) -> None:
    recipients = [f"r{i}@example.org" for i in range(500)]
    async with running_gateway(database_url, nats_url) as second:
        tenants = [tenant, Tenant(second, tenant.domain, tenant.key)]
        answers = await asyncio.gather(*(keyed(tenants[n % 2], "key", *recipients) for n in range(8)))
    assert {answer.message_id for answer in answers} == set(batches_of(database_url, tenant.domain))
    assert len(batches_of(database_url, tenant.domain)) == 1
    counted = "SELECT count(*) AS found FROM deliveries JOIN messages ON number = batch WHERE domain = %s"
    assert rows(database_url, counted, tenant.domain) == [{"found": 500}]


async def test_another_call_under_the_key_is_refused(tenant: Tenant, database_url: str) -> None:
    await keyed(tenant, "key", "a@b.test")
    code, said = await refusal(keyed(tenant, "key", "c@d.test"))
    assert (code, said) == (
        StatusCode.ALREADY_EXISTS,
        "idempotency-key: was used for another call within the last 24 hours",
    )
    name = (await create(tenant)).template_id
    code, _ = await refusal(send_template(tenant, name, "a@b.test", idempotency_key="key"))
    assert code is StatusCode.ALREADY_EXISTS
    assert len(batches_of(database_url, tenant.domain)) == 1


async def test_a_repeated_call_is_answered_though_its_template_is_gone(
    client: Client, tenant: Tenant
) -> None:
    name = (await create(tenant)).template_id
    first = await send_template(tenant, name, "a@b.test", idempotency_key="key")
    await admin(client, "DeleteTemplate", templateId=name)
    assert await send_template(tenant, name, "a@b.test", idempotency_key="key") == first


@pytest.mark.parametrize("key", ["x" * 256, "x" * 300])
async def test_a_key_that_is_none_is_refused(tenant: Tenant, key: str) -> None:
    code, said = await refusal(keyed(tenant, key, "a@b.test"))
    assert code is StatusCode.INVALID_ARGUMENT
    assert said.startswith("idempotency-key: ")


async def test_keys_of_two_tenants_have_nothing_to_do_with_each_other(client: Client, tenant: Tenant) -> None:
    other = await client.tenant()
    first, second = await keyed(tenant, "key", "a@b.test"), await keyed(other, "key", "a@b.test")
    assert first.message_id != second.message_id
