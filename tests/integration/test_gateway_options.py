"""Headers, options of bodies and previews over gRPC, and what of them is stored."""

from typing import Any

import pytest
from grpc import StatusCode

from kannon.adapters.pb import types_pb2
from kannon.adapters.pb.admin_pb2 import UpdateTemplateReq
from kannon.adapters.pb.mailer_pb2 import RenderTemplateReq
from kannon.adapters.pb.types_pb2 import Headers, OneClickUnsubscribe, Recipient
from tests.gateway_client import Client, Tenant, basic, refusal, rows
from tests.integration.test_gateway_templates import admin, create, send_template

LIQUID = types_pb2.TEMPLATE_SYNTAX_LIQUID
STORED = (
    "SELECT m.options, b.html, b.text, b.syntax, b.css_inlined"
    " FROM messages m JOIN bodies b ON b.number = m.body WHERE message_id = %s"
)


async def render(tenant: Tenant, authorization: str, **asked: Any) -> Any:
    return await tenant.client.call(
        "Mailer/RenderTemplate", RenderTemplateReq(**asked), authorization=authorization
    )


async def test_what_a_call_asks_for_is_stored_with_its_batch(database_url: str, tenant: Tenant) -> None:
    answer = await tenant.send(
        recipients=[Recipient(email="a@b.test", fields={"token": "1"}), Recipient(email="c@d.test")],
        html="<style>p{color:red}</style><p>{% if a %}x{% endif %}</p>",
        headers=Headers(cc=["e@f.test"], reply_to="g@h.test", custom={"X-A": "{{ token }}"}),
        one_click_unsubscribe=OneClickUnsubscribe(url_template="https://a.test/{{ token }}"),
        raw_fields=["b", "a"],
        syntax=LIQUID,
        inline_css=True,
    )
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)
    assert answer.rejected_recipients[0].reason == "unsubscribe_url_unresolved"
    (row,) = rows(database_url, STORED, answer.message_id)
    assert row["options"] == {
        "headers": {
            "cc": ["e@f.test"],
            "reply_to": "g@h.test",
            "custom": [["X-A", "{{ token }}"]],
            "unsubscribe_url": "https://a.test/{{ token }}",
        },
        "raw_fields": ["a", "b"],
    }
    assert '<p style="color: red;">{% if a %}x{% endif %}</p>' in row["html"]
    assert (row["text"], row["syntax"], row["css_inlined"]) == ("", "liquid", True)


async def test_a_template_keeps_its_options_when_its_html_changes(
    database_url: str, client: Client, tenant: Tenant
) -> None:
    made = await admin(
        client,
        "CreateTemplate",
        domain=tenant.domain,
        html="<style>p{color:red}</style><p>{{ a | upcase }}</p>",
        text="Given",
        syntax="TEMPLATE_SYNTAX_LIQUID",
        inlineCss=True,
    )
    name = made.template.template_id
    assert (made.template.text, made.template.syntax, made.template.inline_css) == ("Given", LIQUID, True)
    html = "<style>b{color:red}</style><b>{{ a | downcase }}</b>"
    changed = (await admin(client, "UpdateTemplate", templateId=name, html=html)).template
    assert '<b style="color: red;">' in changed.html
    assert (changed.text, changed.syntax, changed.inline_css) == ("", LIQUID, True)
    plain = UpdateTemplateReq(
        template_id=name, html=html, syntax=types_pb2.TEMPLATE_SYNTAX_PLAIN, inline_css=False
    )
    changed = (await client.admin("Api/UpdateTemplate", plain)).template
    assert (changed.html, changed.inline_css) == (html, False)
    without_html = UpdateTemplateReq(template_id=name, title="x", text="x")
    code, text = await refusal(client.admin("Api/UpdateTemplate", without_html))
    assert (code, text.startswith("html: ")) == (StatusCode.INVALID_ARGUMENT, True)
    answer = await send_template(tenant, name, "a@b.test", text="Own {{ a }}", raw_fields=["a"])
    (row,) = rows(database_url, STORED, answer.message_id)
    assert row["options"] == {"raw_fields": ["a"], "text": "Own {{ a }}"}


async def test_a_preview_needs_a_key_and_sees_templates_of_its_domain_alone(tenant: Tenant) -> None:
    name = (await create(tenant)).template_id
    ours = basic(tenant.domain, tenant.key)
    answer = await render(tenant, ours, template_id=name, subject="Hi {{ x }}", fields={"name": "<Ann>"})
    assert (answer.html, answer.text, list(answer.unfilled)) == (
        "<p>Hello &lt;Ann&gt;</p>",
        "Hello <Ann>",
        ["x"],
    )
    for foreign in ("", basic(tenant.domain, "k_" + "x" * 64), "Bearer x"):
        code, _ = await refusal(render(tenant, foreign, template_id=name))
        assert code is StatusCode.UNAUTHENTICATED
    code, _ = await refusal(render(tenant, ours, template_id=f"none@{tenant.domain}"))
    assert code is StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"headers": Headers(custom={"From": "x"})}, "headers.custom.From: "),
        ({"headers": Headers(custom={"X-A": "a\r\nb"})}, "headers.custom.X-A: "),
        ({"headers": Headers(to=["nobody"])}, "headers.to[0]: "),
        (
            {"one_click_unsubscribe": OneClickUnsubscribe(url_template="http://a.test")},
            "one_click_unsubscribe",
        ),
        ({"html": "\n{% if %}", "syntax": LIQUID}, "html: line 2: "),
        ({"text": "\0"}, "text: "),
    ],
)
async def test_what_may_not_be_fails_the_call(changes: dict[str, Any], place: str, tenant: Tenant) -> None:
    code, text = await refusal(tenant.send("a@b.test", **changes))
    assert code is StatusCode.INVALID_ARGUMENT
    assert text.startswith(place)
