"""RenderTemplate, and bodies with options of their own."""

from typing import Any
from unittest.mock import MagicMock

import pytest

from api_gateway.bodies import Bodies, GivenBody, checked_body
from api_gateway.endpoints import Call
from api_gateway.previews import PreviewDesk
from api_gateway.refusals import NotFound
from kannon.adapters.pb import types_pb2
from kannon.adapters.pb.mailer_pb2 import RenderTemplateReq, RenderTemplateRes
from kannon.core.batch_options import Syntax
from kannon.core.errors import BadInput
from tests.fakes_gateway import FakeTemplates

DOMAIN = "example.com"
LIQUID = types_pb2.TEMPLATE_SYNTAX_LIQUID


async def rendered(templates: FakeTemplates | None = None, **asked: Any) -> RenderTemplateRes:
    desk = PreviewDesk(Bodies(templates or FakeTemplates()))
    return await desk.render_template(RenderTemplateReq(**asked), MagicMock(spec=Call, domain=DOMAIN))


async def stored(body: GivenBody, name: str = f"t@{DOMAIN}") -> FakeTemplates:
    templates = FakeTemplates({DOMAIN, "example.org"})
    await templates.add(name, name.partition("@")[2], "", checked_body(body)[0])
    return templates


async def refused(**asked: Any) -> str:
    with pytest.raises(BadInput) as caught:
        await rendered(**asked)
    return str(caught.value)


async def test_a_preview_says_what_a_mail_would_say_and_what_is_not_filled() -> None:
    answer = await rendered(
        subject="Hi {{ name }}", html="<p>{{ name }} {{ none }} {{ email }}</p>", fields={"name": "<Ann>"}
    )
    assert answer == RenderTemplateRes(
        subject="Hi <Ann>",
        html="<p>&lt;Ann&gt; {{ none }} recipient@example.com</p>",
        text="<Ann> {{ none }} recipient@example.com",
        unfilled=["none"],
    )


async def test_a_stored_template_is_previewed_by_its_name_and_to_its_domain_alone() -> None:
    templates = await stored(GivenBody("<p>{{ a }}</p>", "Text {{ b }}"))
    answer = await rendered(templates, template_id=f"t@{DOMAIN}", fields={"a": "1"})
    assert (answer.html, answer.text, list(answer.unfilled)) == ("<p>1</p>", "Text {{ b }}", ["b"])
    other = await rendered(templates, template_id=f"t@{DOMAIN}", text="Other {{ a }}", fields={"a": "1"})
    assert other.text == "Other 1"
    foreign = await stored(GivenBody("x"), "t@example.org")
    with pytest.raises(NotFound):
        await rendered(foreign, template_id="t@example.org")


async def test_raw_fields_are_written_as_they_are() -> None:
    answer = await rendered(html="<p>{{ a }}{{ b }}</p>", fields={"a": "<i>", "b": "<i>"}, raw_fields=["a"])
    assert answer.html == "<p><i>&lt;i&gt;</p>"


async def test_liquid_is_previewed_with_the_text_made_of_its_html() -> None:
    answer = await rendered(
        subject="{{ name | upcase }}",
        html="{% if name %}<p>{{ name }} {{ none }}</p><p>b</p>{% endif %}",
        syntax=LIQUID,
        fields={"name": "<Ann>"},
    )
    assert answer.subject == "<ANN>"
    assert answer.html == "<p>&lt;Ann&gt; </p><p>b</p>"
    assert answer.text == "<Ann>\n\nb"
    assert list(answer.unfilled) == ["none"]


async def test_styles_are_previewed_in_the_tags() -> None:
    answer = await rendered(html="<style>p{color:red}</style><p>x</p>", inline_css=True)
    assert '<p style="color: red;">x</p>' in answer.html
    assert answer.text == "x"


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({}, "html: "),
        ({"html": "x\0"}, "html: "),
        ({"html": "x", "text": "x\0"}, "text: "),
        ({"html": "x", "subject": "a\r\nb"}, "subject: "),
        ({"html": "x", "subject": "{{ a }}", "fields": {"a": "b\nc"}}, "fields.a: "),
        ({"html": "<a href='{{ a }}'>x</a>", "fields": {"a": "javascript:x"}}, "fields.a: "),
        ({"html": "x", "template_id": "t@example.com"}, "template_id: "),
        ({"html": "x", "syntax": 99}, "syntax: "),
        ({"html": "x", "raw_fields": ["a"] * 101}, "raw_fields: "),
        ({"html": "x", "raw_fields": ["a\0"]}, "raw_fields: "),
        ({"html": "\n{% if %}", "syntax": LIQUID}, "html: line 2: "),
        ({"html": "x", "text": "{{ a | b }}", "syntax": LIQUID}, "text: line 1: "),
        ({"html": "x", "subject": "{% x %}", "syntax": LIQUID}, "subject: line 1: "),
        ({"html": "x", "subject": "{{ a }}", "fields": {"a": "b\nc"}, "syntax": LIQUID}, "fields.a: "),
        ({"html": "x", "subject": "{{ '%0A' | url_decode }}", "syntax": LIQUID}, "subject: "),
        ({"html": "{% for i in (1..99999999) %}{% endfor %}", "syntax": LIQUID}, "html: line 1: "),
        ({"html": "<div>" * 60_000, "inline_css": True}, "html: "),
    ],
)
async def test_what_is_wrong_is_named(asked: dict[str, Any], place: str) -> None:
    assert (await refused(**asked)).startswith(place)


async def test_bodies_with_other_options_are_other_bodies() -> None:
    bodies = Bodies(FakeTemplates())
    html = "<style>p{color:red}</style><p>{{ a }}</p>"
    plain = await bodies.given(GivenBody(html))
    inlined = await bodies.given(GivenBody(html, inline_css=True))
    raw = await bodies.given(GivenBody(html), ["a"])
    liquid = await bodies.given(GivenBody(html, syntax=Syntax.LIQUID))
    assert len({str(one.body) for one in (plain, inlined, liquid)}) == 3
    assert raw.body == plain.body
    assert raw.compiled.html.render({"a": "<i>"}).endswith("<p><i></p>")
    assert (await bodies.given(GivenBody(html), ["a"])).compiled is raw.compiled
