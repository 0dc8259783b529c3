"""Style sheets written into tags: where they belong, with placeholders where they were."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.core.css_inlining import MAX_DEPTH, inlined
from kannon.core.errors import BadInput
from kannon.core.patterns import PLACEHOLDER

HEAD = (
    "<style>p { color: {{ color }}; } .b { margin: 0 } @media (max-width: 600px) { p { color: red } }</style>"
)


def test_styles_go_into_the_tags_they_are_for_and_media_stays() -> None:
    made = inlined(f"<html><head>{HEAD}</head><body><p class='b'>{{{{ name }}}}</p></body></html>")
    assert made == (
        "<html><head><style>@media (max-width: 600px) { p { color: red } } </style></head><body>"
        '<p class="b" style="color: {{ color }};margin: 0;">{{ name }}</p></body></html>'
    )


@pytest.mark.parametrize(
    "html",
    [
        '<a href="{{ link }}?a={{ b }}">{{ text }}</a>',
        '<p style="{{ style }}">x</p>',
        '<p title="{{ title }}">{{ a }}{{b}}</p>',
        "<table><tbody>{% for row in rows %}<tr><td>{{ row }}</td></tr>{% endfor %}</tbody></table>",
        '<p>{{ name | default: "<b>" }}</p>',
        "<!--[if mso]><p>{{ outlook }}</p><![endif]-->",
        "<textarea>{{ text }}</textarea>",
        "{% if a > b %}<p>x</p>{% endif %}",
    ],
)
def test_what_placeholders_stand_in_stays_as_it_is(html: str) -> None:
    body = f"<html><head></head><body>{html}</body></html>"
    kept = inlined(body)
    assert re.sub(r";(?=\")", "", kept) == body


def test_a_bare_attribute_that_is_a_placeholder_stays_one() -> None:
    assert '<a href="{{ link }}">' in inlined("<a href={{ link }}>x</a>")


def test_a_tag_of_liquid_that_would_be_lost_is_refused() -> None:
    with pytest.raises(BadInput, match=r"html: \{% if a %\}"):
        inlined("<style>{% if a %} p { color: red } {% endif %}</style><p>x</p>")


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "http://127.0.0.1:1/x.css", "/etc/passwd", "x.css"]
)
def test_nothing_is_loaded(address: str) -> None:
    made = inlined(f"<link rel=stylesheet href='{address}'><style>@import url({address});</style><p>x</p>")
    assert "root:" not in made
    assert "<p>x</p>" in made


@pytest.mark.parametrize(
    "html",
    [
        "<style>" + "* { color: red } " * 2000 + "</style>" + "<p>x</p>" * 1000,
        "<div>" * 60_000,
        "<div></x>" * 30_000,
        "<svg>" + "<link>" * 60_000,
        "<svg><title>" + "<g>" * 60_000,
        "<math><script>" + "<mi>" * 60_000,
        "<frameset>" * 60_000,
        "<div><!--</div>-->" * 30_000,
    ],
)
def test_what_would_take_too_much_is_refused(html: str) -> None:
    with pytest.raises(BadInput, match=r"^html: "):
        inlined(html)


def test_deep_is_not_too_deep() -> None:
    assert inlined("<div>" * (MAX_DEPTH - 1)).count("<div>") == MAX_DEPTH - 1


names = st.sampled_from(["a", "b", "long name"])
parts = st.one_of(
    st.sampled_from(
        ["<p>", "</p>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<br>", "text", "&amp;"]
    ),
    st.builds("{{{{ {} }}}}".format, names),
    st.builds('<a href="{{{{{}}}}}" style="color:{{{{ c }}}}">'.format, names),
)


@given(st.lists(parts, max_size=30).map("".join))
def test_no_placeholder_is_lost_or_made(body: str) -> None:
    made = inlined(f"<style>p {{ color: red }}</style>{body}")
    assert set(PLACEHOLDER.findall(made)) == set(PLACEHOLDER.findall(body))  # readers repeat open tags
    assert "kept" not in made


@pytest.mark.parametrize(
    "unit", ["{{", "{%", "{{ ", "{ {%", "<style ", "<style>", "<p {%", "<p style='{{a}}", "kept0y", "{{a}}"]
)
def test_what_has_no_end_is_not_looked_for_again_and_again(unit: str) -> None:
    html = (unit * 40_000)[:200_000]
    for ended in (html, f"{html}}}}}", f"{html}%}}", f"<p {html}>"):
        began = time.thread_time()
        with suppress(BadInput):
            inlined(ended)
        assert time.thread_time() - began < 2.5
