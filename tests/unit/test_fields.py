"""Placeholders: where they are found, what fills them, and that a value stays where it is put."""

from contextlib import suppress
from html.parser import HTMLParser
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.fields import (
    UnsafeField,
    UnsafeHeader,
    UnsafePlace,
    UnsafeUrl,
    compile_header,
    compile_html,
    compile_text,
    header_safe,
    merge_fields,
)
from kannon.core.patterns import PLACEHOLDER

BROKEN = ["<", ">", "{{x}}", "{{", "}}", '"', "'", "=", "a", " ", "\n", "/", "href", "<a "]
BROKEN += ["<!--", "-->", "<script>", "</script>", "<![endif]", "<!--[if", "]>", "<style>", "srcset="]


def filled(source: str, value: str) -> str:
    return compile_html(source).render({"x": value})


def test_spaces_in_a_placeholder_do_not_count() -> None:
    text = compile_text("{{name}}, {{ name }}, {{\tname\n}}")
    assert text.render({"name": "Ann"}) == "Ann, Ann, Ann"
    assert text.names == {"name"}


def test_what_nothing_fills_stays_as_written() -> None:
    source = "{{ a }} {{}} {{ }} {{a}} {b} {{c} } }}{{ {{{d}}} {{ e\n"
    assert compile_text(source).render({}) == source
    assert compile_html(source).render({}) == source
    assert compile_text("{{{d}}}").render({"d": "1"}) == "{1}"


def test_a_name_is_never_read_as_a_pattern() -> None:
    fields = {"a.b": "1", "a+": "2", "$(x)": "3", "naïve name": "4", "[": "5"}
    text = compile_text("{{ a.b }}{{ a+ }}{{ $(x) }}{{ naïve name }}{{ [ }}{{ aXb }}")
    assert text.render(fields) == "12345{{ aXb }}"


def test_a_value_is_never_searched_for_placeholders() -> None:
    fields = {"a": "{{ b }}", "b": "secret", "c": "{", "d": "{ b }}"}
    assert compile_text("{{ a }} {{c}}{{d}}").render(fields) == "{{ b }} {{ b }}"
    assert compile_html("<p>{{ a }}</p>").render(fields) == "<p>{{ b }}</p>"


def test_a_text_without_placeholders_is_constant() -> None:
    assert compile_text("all the same").is_constant
    assert compile_html("<p title='x'>").is_constant
    assert not compile_html("<p title='{{ x }}'>").is_constant


def test_the_recipients_own_fields_come_first_then_the_calls_then_the_address() -> None:
    assert merge_fields("a@b.co", {}, {}) == {"email": "a@b.co"}
    fields = merge_fields("a@b.co", {"email": "g", "city": "Rome"}, {"city": "Oslo"})
    assert fields == {"email": "g", "city": "Oslo"}


def test_plain_text_and_subjects_take_values_as_they_are() -> None:
    assert compile_text("Hi {{x}}").render({"x": "<b> & 'Co'\n"}) == "Hi <b> & 'Co'\n"
    assert compile_header("Hi {{x}}").render({"x": "<b> & 'Co'"}) == "Hi <b> & 'Co'"


@pytest.mark.parametrize("value", ["a\r\nBcc: b@c.co", "a\nb", "a\rb", "a\0b"])
def test_a_value_that_would_break_a_header_is_refused_by_the_name_of_its_field(value: str) -> None:
    assert not header_safe(value)
    with pytest.raises(UnsafeHeader) as refusal:
        compile_header("Hi {{ name }}").render({"name": value})
    assert refusal.value.field == "name"
    assert value not in str(refusal.value)


def test_a_value_that_a_header_does_not_ask_for_may_hold_anything() -> None:
    assert header_safe("tab\tand ünïcode")
    assert compile_header("Hi").render({"name": "a\nb"}) == "Hi"


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("<p>{{x}}</p>", "<p>a&amp;b &lt;&quot;&#x27;/</p>"),
        ("<p title='{{x}}'>", "<p title='a&amp;b &lt;&quot;&#x27;/'>"),
        (
            '<P TITLE = "1 > {{x}}" >{{x}}',
            '<P TITLE = "1 > a&amp;b &lt;&quot;&#x27;/" >a&amp;b &lt;&quot;&#x27;/',
        ),
        ("<p title={{ x }}>", '<p title="a&amp;b &lt;&quot;&#x27;/">'),
        ('<p title=a"{{x}}>', '<p title="a&quot;a&amp;b &lt;&quot;&#x27;/">'),
        ("<!-- > {{x}} -->", "<!-- > a&amp;b &lt;&quot;&#x27;/ -->"),
        ("<a href='https://e.co/?q={{x}}'>", "<a href='https://e.co/?q=a%26b%20%3C%22%27%2F'>"),
        ("<a HREF=https://e.co/{{x}}/y>", '<a HREF="https://e.co/a%26b%20%3C%22%27%2F/y">'),
        ("<a data-href='{{x}}'>", "<a data-href='a&amp;b &lt;&quot;&#x27;/'>"),
        ("<a title='>' href='/{{x}}'>", "<a title='>' href='/a%26b%20%3C%22%27%2F'>"),
        ("<!-- <a href='/{{x}}'> -->", "<!-- <a href='/a&amp;b &lt;&quot;&#x27;/'> -->"),
        ("<!-- > <a href='/{{x}}'> -->", "<!-- > <a href='/a&amp;b &lt;&quot;&#x27;/'> -->"),
        ("<!--><a href='/{{x}}'>", "<!--><a href='/a%26b%20%3C%22%27%2F'>"),
        (
            "<!--[if mso]><a href='/{{x}}'><![endif]-->",
            "<!--[if mso]><a href='/a%26b%20%3C%22%27%2F'><![endif]-->",
        ),
        ("a < b {{x}} > c", "a < b a&amp;b &lt;&quot;&#x27;/ > c"),
        ("<a href='/{{x}}", "<a href='/a%26b%20%3C%22%27%2F"),
        ("<!-- {{x}}", "<!-- a&amp;b &lt;&quot;&#x27;/"),
    ],
)
def test_a_value_is_escaped_for_the_place_where_it_stands(source: str, rendered: str | None) -> None:
    expected = rendered or source.replace("{{x}}", "a&amp;b &lt;&quot;&#x27;/")
    assert filled(source, "a&b <\"'/") == expected


@pytest.mark.parametrize(
    "source", ["<a href={{x}}>", "<a href={{ x }} title=t>", "<a href='{{x}}'>", '<a href="{{ x }}"/>']
)
def test_a_whole_url_is_found_with_any_quotes_and_cannot_leave_them(source: str) -> None:
    url = "https://e.co/\"'> onclick=x"
    assert attributes(filled(source, url))["href"] == url
    assert set(attributes(filled(source, url))) <= {"href", "title"}
    with pytest.raises(UnsafeUrl):
        filled(source, "javascript:alert(1)")


def test_fields_that_the_call_lists_as_raw_are_written_as_they_are() -> None:
    pattern = compile_html("<p>{{ a }}{{ b }}</p><a href='{{ a }}'>", raw_fields=["a"])
    assert pattern.render({"a": "<b>", "b": "<b>"}) == "<p><b>&lt;b&gt;</p><a href='<b>'>"


class FirstTag(HTMLParser):
    """Reads the attributes of the first tag as a browser would, and counts the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self.tags:
            self.attributes = dict(attrs)
        self.tags.append(tag)


def parsed(html: str) -> FirstTag:
    parser = FirstTag()
    parser.feed(html)
    parser.close()
    return parser


def attributes(html: str) -> dict[str, str | None]:
    return parsed(html).attributes


@settings(deadline=None)
@given(st.lists(st.sampled_from(BROKEN)))
def test_html_however_broken_comes_back_as_it_was_when_nothing_is_filled(pieces: list[str]) -> None:
    source = "".join(pieces)
    assert compile_text(source).render({}) == source
    try:
        rendered = compile_html(source).render({})
    except UnsafePlace:
        assert PLACEHOLDER.search(source)
    else:
        assert rendered.replace('"', "").replace("&quot;", "") == source.replace('"', "")


@settings(deadline=None)
@given(st.lists(st.sampled_from(BROKEN)), st.text(alphabet="\"'<>=/ -!&;x"))
def test_what_is_checked_is_what_is_refused_when_it_is_filled(pieces: list[str], value: str) -> None:
    try:
        pattern = compile_html("".join(pieces))
    except UnsafePlace:
        return
    refused = False
    try:
        pattern.check({"x": value, "other": "y"})
    except UnsafeField:
        refused = True
    if refused:
        with pytest.raises(UnsafeField):
            pattern.render({"x": value})
    else:
        pattern.render({"x": value})


ATOMS = ["<a b ", "<a", "</", "<a b='", "<!--", "<!--[if ", "{{", "<a ", "<script>", "<a =", "{{a", "<a b={{"]
ATOMS += ["<![", " ", "<a>", "<title>", "<a href={{x}}>", "{{x}}", "<a {{", "&#1", "<p title='{{x}}'>"]


@pytest.mark.parametrize("beginning", ["", "<p title='{{x}}'>", "<img srcset='", "<title>"])
def test_any_html_is_compiled_in_time_proportional_to_its_length(beginning: str) -> None:
    """150 KB take less than a fifth of a second each; time that grows with the square takes minutes."""
    for atom in ATOMS:
        source = beginning + atom * (150_000 // len(atom))
        began = process_time()
        with suppress(UnsafePlace):
            compile_html(source)
        assert process_time() - began < 5, atom
