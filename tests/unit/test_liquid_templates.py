"""Liquid: what it writes, what it may not, and that no template takes more than it may."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kannon.core.liquid_templates import _FILTERS, MAX_SECONDS, LiquidTemplate
from kannon.core.template_errors import BadTemplate, TemplateLimit

HOSTILE = "<b onclick='x'>&amp;\"</b>"


def template(source: str, *, escapes: bool = True) -> LiquidTemplate:
    return LiquidTemplate(source, escapes=escapes, clock=time.thread_time)


def rendered(source: str, **fields: str) -> str:
    return template(source).render(fields)


def test_placeholders_conditions_and_loops() -> None:
    source = "{% if name %}Dear {{ name | capitalize }}{% else %}Hello{% endif %}"
    source += "{% for i in (1..3) %}{{ i }}{% endfor %}"
    assert rendered(source, name="ann") == "Dear Ann123"
    assert rendered(source) == "Hello123"
    assert rendered("{% assign list = tags | split: ',' %}{{ list | join: '; ' }}", tags="a,b") == "a; b"
    assert rendered("{{ none }}|{{ none | default: 'friend' }}") == "|friend"


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    assert (
        rendered("<p>{{ x }}</p>", x=HOSTILE)
        == "<p>&lt;b onclick=&#39;x&#39;&gt;&amp;amp;&#34;&lt;/b&gt;</p>"
    )
    assert template("{{ x }}", escapes=False).render({"x": HOSTILE}) == HOSTILE
    assert template("{{ x }}{{ y }}").render({"x": "<i>", "y": "<i>"}, {"x"}) == "<i>&lt;i&gt;"


@pytest.mark.parametrize("name", sorted(_FILTERS))
@pytest.mark.parametrize(
    "form", ["x | {}", "x | {}: x", "x | {}: x, x", "'%3Ci%3E' | {}: x", "x | split: '' | {}: x"]
)
def test_no_filter_lets_a_value_out_of_its_escaping(name: str, form: str) -> None:
    for value in (HOSTILE, "%3Cscript%3E", "PHNjcmlwdD4=", "&lt;script&gt;", "<", "a\n<i>"):
        for more in ("", " | url_decode", " | escape_once", " | strip_html", " | newline_to_br | upcase"):
            try:
                written = rendered("{{ " + form.format(name) + more + " }}", x=value)
            except BadTemplate:
                continue
            assert "<" not in written.replace("<br />", "").replace("<BR />", "")
            assert '"' not in written.replace("<br />", "")


@given(st.text(max_size=40), st.text(max_size=200))
@example("x", "a\r\nb\r{{ x }}{% if %}")
def test_a_value_is_never_read_as_a_template(name: str, value: str) -> None:
    assert template("{{ x }}", escapes=False).render({"x": value, name: value}) == value


def test_names_are_those_of_fields() -> None:
    source = "{% assign own = a %}{{ own }}{{ b.size }}{% for i in c %}{{ i }}{{ forloop.index }}{% endfor %}"
    assert template(source).names() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("a\n\n{% if x %}", 3, "if"),
        ("{{ x | nothing }}", 1, "unknown filter 'nothing'"),
        ("\n{{ x | safe }}", 2, "unknown filter 'safe'"),
        ("\n{% include 'x' %}", 2, "include"),
        ("{% render '/etc/passwd' %}", 1, "render"),
        ("{% extends 'x' %}", 1, "extends"),
        ("\n\n{{ x", 3, "{{ without }}"),
        ("{% raw %}", 1, "raw"),
        ("{% doc %}{% enddoc %}", 1, "doc"),
        ("{{ (1..9) | join }}", 1, "looped"),
        ("{% if (1..1000000000) contains 'x' %}{% endif %}", 1, "looped"),
        ("{{ " + "9" * 5000 + " }}", 1, "{{ without }}"),
        ("{% " + " " * 60 + "if x %}{% endif %}", 1, "white space"),
    ],
)
def test_what_is_no_liquid_is_refused_with_its_line(source: str, line: int, reason: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        template(source)
    assert caught.value.line == line
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "source",
    [
        "{{" * 200_000,
        "{%" * 200_000,
        "{{ " + "(" * 400_000 + " }}",
        "{{ '" * 100_000 + "}}",
        "{{}}" * 100_000,
        "{{ a }}" * 60_000,
        "{% raw %}" * 50_000,
        "{% comment %}" * 30_000,
        "{% if 1 %}" * 40_000,
        ("{{-" + " " * 49 + "}}") * 5000,
        ("{{ " + "(" * 1990 + "}}") * 200,
        ("{{ '" + "\"'" * 990 + "}}") * 200,
    ],
)
def test_no_source_takes_long_to_be_refused(source: str) -> None:
    began = time.thread_time()
    with pytest.raises(BadTemplate):
        template(source)
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..100000000) %}{% endfor %}",
        "{% for i in (1..100) %}{% for j in (1..101) %}x{% endfor %}{% endfor %}",
        "{% for i in (1..9999) %}{% endfor %}" * 100,
        "{% for i in (1..9999) %}{{ x }}{% endfor %}" * 10,
        "{% assign a = 'xxxxxxxxxx' %}" + "{% assign a = a | append: a %}" * 60,
        "{{ 'aaaaaaaaaa'" + " | replace: '', 'aaaaaaaaaa'" * 20 + " }}",
        "{% assign a = 99 %}" + "{% assign a = a | times: a %}" * 60,
        "{% assign a = x | split: '' %}" + "{% assign a = a | concat: a %}" * 30,
        "{% for i in (1..9000) %}{% capture a %}{{ a }}{{ a }}xxxxxxxxxxx{% endcapture %}{% endfor %}",
        "{% for i in (1..9000) %}{% capture a %}{{ long }}{% endcapture %}{% endfor %}",
        "{% for i in (1..9000) %}{{ long | split: '' | join: long }}{% endfor %}",
        "{% for i in (1..9000) %}{% if " + " or ".join(["1 == 2"] * 190) + " %}{% endif %}{% endfor %}" * 1,
        "{{ long }}" * 20,
        "{% for i in (1..1000000000) reversed %}{% break %}{% endfor %}",
        "{% for i in (1..1000000000) offset: 999999999 %}x{% endfor %}",
        "{% for i in (1..2) %}{% for j in (i..many) reversed %}{% endfor %}{% endfor %}",
        "{{ '" + "1" * 101 + "' | date: '%Y' }}",
    ],
)
def test_no_template_takes_more_than_it_may(source: str) -> None:
    fields = {"x": "abcdefghij", "long": "x" * 90_000, "many": "999999999"}
    began = time.thread_time()
    with pytest.raises(TemplateLimit):
        template(source).render(fields)
    assert time.thread_time() - began < MAX_SECONDS + 1.5


@pytest.mark.parametrize(
    "source", ["{{ 'now' | date: '%100000000d' }}", "{{ 1e400000000 }}", "{{ x | slice: -1, 99 }}"]
)
def test_what_looks_dear_and_is_cheap(source: str) -> None:
    assert len(rendered(source, x="abc")) < 10


@pytest.mark.parametrize(
    "source",
    ["{{ '1e999' | ceil }}", "{{ 1 | divided_by: 0 }}", "{% break %}", "{{ '/////' | base64_decode }}"],
)
def test_what_cannot_be_written_says_so(source: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        rendered(source)
    assert not isinstance(caught.value, TemplateLimit)


def test_time_is_the_processors_and_not_the_clocks() -> None:
    ticks = iter(range(10_000))
    slow = LiquidTemplate("{{ a }}{{ b }}", escapes=True, clock=lambda: float(next(ticks)))
    with pytest.raises(TemplateLimit, match="too long"):
        slow.render({})
