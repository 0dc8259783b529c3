"""The text part that is made from HTML."""

from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kannon.core.fields import compile_text
from kannon.core.plain_text import MAX_DEPTH, text_from_html

NEWSLETTER = """<!DOCTYPE html>
<html><head><title>News</title><style>p { color: red }</style><meta charset="utf-8"></head>
<body>
  <!--[if mso]><p>For Outlook</p><![endif]-->
  <h1>Hello   {{ name }}</h1>
  <p>It is <b>spring</b>,
     and caf&eacute;s open.<br>Come &amp; see:</p>
  <ul>
    <li>One</li>
    <li><p>Two <a href="https://e.co/two">more</a></p>
      <ol><li>Two and a half</li></ol>
    </li>
  </ul>
  <table><tr><td>Mon</td><td>9&nbsp;h</td></tr><tr><td>Tue</td><td>10 h</td></tr></table>
  <p><a href="{{ url }}"><img src="x.png" alt="Shop"></a> <a href="https://e.co">https://e.co</a>
  <a href="mailto:a@b.co">a@b.co</a> <a href="#top">Top</a></p>
  <script>alert("<p>no</p>")</script>
</body></html>
"""

BROKEN = [
    "<",
    ">",
    "<!",
    "<![",
    "<![CDATA[",
    "]]>",
    "<![if",
    "<!--",
    "-->",
    "<?",
    "&",
    "&#",
    "&#x110000;",
    "{{",
]
BROKEN += ["<p>", "</p>", "<li>", "</ul>", "<a href=x>", "</a>", "<title>", "<script>", "</script>", "{{x}}"]
BROKEN += ["a", " ", "'"]

AS_TEXT = """Hello {{ name }}

It is spring, and cafés open.
Come & see:

- One
- Two more (https://e.co/two)
  - Two and a half

Mon 9 h
Tue 10 h

Shop ({{ url }}) https://e.co a@b.co Top"""


def test_a_newsletter_reads_well_without_its_markup() -> None:
    assert text_from_html(NEWSLETTER) == AS_TEXT


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("just text", "just text"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<div>a<div>b</div></div>c", "a\nb\nc"),
        ("a<br>b<br/><br />c<br><br><br>d", "a\nb\n\nc\n\nd"),
        ("a <b> b </b> c", "a b c"),
        ("a<b>b</b>c", "abc"),
        ("a<!-- b -->c", "ac"),
        ("1 &lt; 2 &amp;amp; &#8364;&hellip;", "1 < 2 &amp; €…"),
        ("a<style>b</style><script>c</script><title>d</title>e", "ae"),
        ("<a href='https://e.co'></a>", "https://e.co"),
        ("<a href=''>here</a>", "here"),
        ("<a href='/a'>A</a><a href='/b'>B</a>.", "A (/a) B (/b)."),
        ("<a>here</a>", "here"),
        (
            "<a href='https://e.co'>one<a href='https://e.co/2'>two</a>",
            "one (https://e.co) two (https://e.co/2)",
        ),
        ("<a href='https://e.co'><div>Button</div></a><p>next", "Button (https://e.co)\n\nnext"),
        ("<ul><li>a<li>b</ul>c", "- a\n- b\n\nc"),
        ("<ul><li>a</li><li></li></ul>c", "- a\n\nc"),
        ("a <img alt='x y'>b<img src=pixel>", "a x y b"),
        ("a<template><p>b</p></template>c<iframe>d</iframe><textarea> e&lt; </textarea>", "ac e<"),
        ("<a href='https://e.co'>never closed", "never closed (https://e.co)"),
        ("a &#" + "1" * 5000 + "; &#x" + "f" * 5000, "a \ufffd \ufffd"),
    ],
)
def test_markup_becomes_lines_bullets_and_addresses(html: str, text: str) -> None:
    assert text_from_html(html) == text


@pytest.mark.parametrize(
    "placeholder", ["{{name}}", "{{ name }}", "{{  first  name  }}", "{{ a&amp;b }}", "{{\nx\n}}"]
)
@pytest.mark.parametrize(
    "html", ["<p>Hi %s!</p>", "<p>Hi <a href=%s>you</a></p>", "Hi <a href='https://e.co/%s'>x</a>"]
)
def test_placeholders_are_kept_as_written_so_that_the_text_can_be_filled(html: str, placeholder: str) -> None:
    text = text_from_html(html % placeholder)
    assert placeholder in text
    assert compile_text(text).names == {placeholder.strip("{}").strip()}


def test_no_character_of_the_html_is_taken_for_a_placeholder() -> None:
    assert text_from_html("&#xE000;0&#xE001; {{x}}") == "\ue0000\ue001 {{x}}"


@settings(deadline=None)
@given(st.lists(st.sampled_from(BROKEN)))
@example(["<ul>"] * 100 + ["<li>", "a"] * 100)
def test_any_html_gives_some_text(pieces: list[str]) -> None:
    html = "".join(pieces)
    text = text_from_html(html)
    assert text == text.lstrip("\n")
    assert "\n\n\n" not in text
    assert len(text) <= 2 * len(html)


def test_lists_are_indented_to_a_depth_and_no_further() -> None:
    lines = text_from_html("<ul><li>some text" * 20).splitlines()
    indentations = [len(line) - len(line.lstrip()) for line in lines]
    assert indentations == [2 * min(depth, MAX_DEPTH) for depth in range(20)]


def test_deep_lists_do_not_make_a_long_text() -> None:
    html = "<ul><li>x" * 50_000
    assert len(text_from_html(html)) < 2 * len(html)
    html = "<ul>" * 9 + "<li>x" * 50_000
    assert len(text_from_html(html)) < 2 * len(html)


ATOMS = [
    "<a b ",
    "<a",
    "</",
    "<a b='",
    "<!--",
    "<![",
    "<a ",
    "<a href=",
    "&#1",
    "&",
    "{{",
    "{{x}}",
    "<a>",
    "<p>",
]
ATOMS += [
    "<title>",
    "<a href=x>",
    "<ul><li>x",
    "<img alt='",
    "&#xE000;0&#xE001;",
    "<a b={{",
    "</ul>",
    "<",
    "<br>",
]


def test_any_html_becomes_text_in_time_proportional_to_its_length() -> None:
    """500 KB take less than half a second; time that grows with the square takes minutes."""
    for atom in ATOMS:
        html = "{{" + "y" * 1000 + "}}" + atom * (500_000 // len(atom))
        began = process_time()
        assert len(text_from_html(html)) <= 2 * len(html)
        assert process_time() - began < 5, atom
