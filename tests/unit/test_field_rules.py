"""What fields may hold, from where subject and HTML put them, and how a refusal names them."""

import tracemalloc
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_gateway.bodies import GivenBody, checked_body
from api_gateway.field_rules import MAX_FIELDS, MAX_HEADER_CHARACTERS, FieldRules, read_fields
from kannon.core.added_headers import CompiledHeaders
from kannon.core.batch_options import AddedHeaders
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import BadInput
from kannon.core.fields import UnsafeField, compile_header, compile_html

PLACE, ADDRESS = "recipients[7]", "ada@example.org"


def rules(subject: str, html: str, global_fields: dict[str, str]) -> FieldRules:
    return FieldRules(subject, checked_body(GivenBody(html))[1], global_fields)


def refusal(subject: str, html: str, global_fields: dict[str, str], **fields: str) -> str:
    """What a call with this Recipient is told; empty if it is taken."""
    try:
        rules(subject, html, global_fields).check(PLACE, ADDRESS, fields)
    except BadInput as error:
        return str(error)
    return ""


def test_a_placeholder_where_no_value_is_safe_is_named_whether_or_not_a_field_fills_it() -> None:
    for html, place in (
        ("<script>{{ name }}</script>", "a script"),
        ("<a onclick={{ name }}>", "an event handler"),
        ("<option {{ name }}>", "the name of an attribute"),
    ):
        said = f"html: {{{{ name }}}} stands in {place}, where no value is safe"
        assert refusal("", html, {}) == refusal("", html, {"name": "x"}) == said
    assert len(refusal("", "<{{%s}}>" % ("x" * 5000), {})) < 200


@pytest.mark.parametrize(
    ("html", "url", "allowed"),
    [
        ("<a href='{{ u }}'>", "javascript:x", "an http, https, mailto, tel or sms URL, `#…` or empty"),
        ("<img src='{{ u }}'>", "tel:1", "an http, https, mailto or cid URL"),
        ("<a href='{{ u }}/path'>", "e.co", "an http or https one"),
        ("<form action='{{ u }}'>", "", "an http, https or mailto one"),
    ],
)
def test_a_url_that_may_not_stand_where_it_is_put_is_refused_by_name(
    html: str, url: str, allowed: str
) -> None:
    assert refusal("", html, {"u": url}).startswith("global_fields.u: ")
    said = refusal("", html, {"u": "https://e.co"}, u=url)
    assert said.startswith(f"{PLACE}.fields.u: ")
    assert said.endswith(allowed)
    assert refusal("", html, {"u": "https://e.co"}) == refusal("", html, {}, u="https://e.co") == ""


@pytest.mark.parametrize("url", ["", "tel:+123", "sms:+123", "#top"])
def test_links_of_other_kinds_are_taken(url: str) -> None:
    assert refusal("", "<a href='{{ u }}'>", {}, u=url) == ""


def test_an_address_is_no_url_unless_a_field_stands_for_it() -> None:
    html = "<a href='{{ email }}'>"
    assert refusal("", html, {}).startswith(f"{PLACE}.email: ")
    assert refusal("", html, {"email": "https://e.co"}) == refusal("", html, {}, email="https://e.co") == ""


def test_html_whose_message_would_be_too_large_says_how_large() -> None:
    said = refusal("", "<p>x" + "words and " * 40_000, {})
    assert said.startswith("html: ")
    assert f"{MAX_CHUNK_BYTES} are allowed" in said
    assert refusal("", "<p>x" + "words and " * 30_000, {}) == ""
    assert "html: " in refusal("", "<p>" + "ü" * 120_000, {})


def test_a_recipient_whose_fields_make_the_message_too_large_is_named() -> None:
    html = "<p>{{ text }} {{ more }}</p>"
    assert refusal("", html, {}, text="x" * 300_000) == ""
    assert refusal("", html, {}, other="x" * 900_000) == ""
    for fields in ({"text": "x" * 340_000}, {"text": "ü" * 60_000}, {"text": "'" * 100_000}):
        assert refusal("", html, {}, **fields).startswith(f"{PLACE}.fields: ")
    assert refusal("", html, {"more": "x" * 200_000}, text="x" * 140_000).startswith(f"{PLACE}.fields: ")
    assert refusal("", html, {"more": "x" * 340_000}).startswith("global_fields: ")
    assert refusal("", html, {"more": "x" * 340_000}, more="short") == ""


def test_a_subject_that_would_be_too_long_names_the_field_that_makes_it_so() -> None:
    subject = "{{ a }} {{ b }} {{ b }}"
    assert refusal(subject, "x", {}, a="x" * 496, b="y" * 251) == ""
    assert refusal(subject, "x", {}, a="x" * 497, b="y" * 251).startswith(f"{PLACE}.fields.a: ")
    assert refusal(subject, "x", {"a": "x" * 900}, b="y" * 50).startswith(f"{PLACE}.fields.b: ")
    assert refusal(subject, "x", {"a": "x" * 1000}).startswith("global_fields.a: ")
    assert refusal(subject, "x", {"a": "x" * 2000}, a="") == ""
    said = refusal("x" * 900 + "{{email}}" * 10, "x", {})
    assert said == "subject: with it the subject would have 1050 characters, 1000 are allowed"


@settings(deadline=None)
@given(
    st.sampled_from(["{{a}}", "{{email}} {{a}}", "x" * 990 + "{{ b }}", "Hi"]),
    st.sampled_from(["<a href='{{a}}'>{{b}}</a>", "<p>{{b}} {{email}}</p>" * 9, "<p style='{{a}}'>"]),
    st.fixed_dictionaries({}, optional={name: st.text(max_size=40) for name in ("a", "b", "email")}),
    st.fixed_dictionaries({}, optional={name: st.text(max_size=40) for name in ("a", "b", "email")}),
)
def test_what_is_taken_can_be_written(
    subject: str, html: str, common: dict[str, str], own: dict[str, str]
) -> None:
    fields = {"email": ADDRESS, **common, **own}
    if refusal(subject, html, common, **own):
        return
    assert len(compile_header(subject).render(fields)) <= MAX_HEADER_CHARACTERS
    compile_html(html).render(fields)


@pytest.mark.parametrize(
    ("subject", "html", "headers"),
    [
        ("", "{{ x }}" * 20_000, {}),
        ("", "<p title='{{ x }}'>" * 9_000, {}),
        ("{{x}}" * 200, "x", {}),
        ("", "x", {"X-A": "{{x}}" * 200}),
        ("", "x", {f"X-{n}": "{{x}}" * 190 for n in range(20)}),
    ],
)
def test_a_value_that_would_stand_there_often_is_refused_without_writing_it(
    subject: str, html: str, headers: dict[str, str]
) -> None:
    """Written out, any of these takes gigabytes."""
    asked = CompiledHeaders(AddedHeaders(custom=tuple(headers.items())))
    checking = FieldRules(subject, checked_body(GivenBody(html))[1], {}, asked)
    for fields in ({"x": "y" * 600_000}, {"x": "'" * 7_000_000}):
        tracemalloc.start()
        try:
            with pytest.raises(BadInput):
                checking.check(PLACE, ADDRESS, fields)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


def test_there_are_not_more_fields_than_can_be_looked_through_for_each_recipient() -> None:
    most = {f"f{number}": "x" for number in range(MAX_FIELDS)}
    assert read_fields("fields", most) == most
    with pytest.raises(BadInput, match="global_fields: must not be more than 1000"):
        read_fields("global_fields", most | {"y": ""})


def test_many_recipients_with_small_fields_are_checked_quickly() -> None:
    html = "<p>Hello {{ name }}</p><a href='{{ url }}?e={{ email }}'>x</a>" + "<p>words</p>" * 5000
    many = rules("Hello {{ name }}", html, {"city": "Rome"})
    fields = {"name": "Ada", "url": "https://e.co/x", "id": "1"}
    began = process_time()
    for _ in range(100_000):
        many.check(PLACE, ADDRESS, fields)
    assert process_time() - began < 2


def test_dispatch_refuses_what_the_gateway_does() -> None:
    html = "<a href='{{ u }}'>"
    assert refusal("", html, {}, u="javascript:x")
    with pytest.raises(UnsafeField):
        compile_html(html).render({"u": "javascript:x"})
