"""Where in HTML a value may stand, how it is written there, and that it stays there."""

import re
from html.parser import HTMLParser
from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kannon.core.fields import UnsafeField, UnsafePlace, UnsafeUrl, compile_html

WEB = ["https://e.co/?a=1&b=c", "HTTP://e.co", "mailto:a@b.co?subject=x"]
NOT_A_URL = [
    "javascript:alert(1)",
    "java\nscript:x",
    "data:text/html,x",
    "//e.co",
    "/x",
    "http://",
    "https:x",
]
LINKS = ["tel:+123", "sms:+123", "#top", "#", "", "  ", "TEL:1"]
CONTENT_ID = "cid:logo@e.co"

SAFE = [
    "<p>{{x}}</p>",
    "{{x}}> {{x}}",
    "<title>{{x}}</title><textarea>{{x}}</textarea>",
    "<p title='{{x}}'>",
    "<p title={{x}} class=k>",
    "<p title=a{{x}}b/>",
    "<p title={{x}}",
    "<a href='{{x}}'>",
    "<a href={{x}}>",
    "<a href='{{x}}/path?u={{x}}'>",
    "<a href={{x}}?u={{x}}#{{x}}>",
    "<a href='https://e.co/{{x}}?q={{x}}'>",
    "<a href=mailto:{{x}}>",
    "<img src='{{x}}' srcset='{{x}} 1x, {{x}}/a.png 2x, b.png {{x}}w' alt={{x}}>",
    "<img srcset={{x}}>",
    "<td background='{{x}}' style='color: {{x}}; background: url({{x}})' bgcolor='{{x}}'>",
    "<td style=color:{{x}}>",
    "<style>p { color: {{x}}; } a::after { content: '{{x}}' } /* {{x}} */</style><p>",
    "<!-- {{x}} --><p>",
    "<!--{{x}}-->",
    "<!-- {{x}}> <b> -->",
    "<!--{{x}}> <b> -->",
    "<!--{{x}}->-->",
    "<!-- --{{x}}> <b> -->",
    "<!DOCTYPE {{x}}><p>",
    "<meta name='description' content='{{x}}'>",
    "<meta http-equiv=refresh content='5; url={{x}}'><b>",
    '<meta http-equiv=refresh content=5;url="{{x}}><b>',
    "<animate attributeName='href' to='{{x}}' values='{{x}};{{x}}'>",
    "<!--[if mso]><p title={{x}}>{{x}}</p><a href='{{x}}'><style>b { width: {{x}} }</style><![endif]--><b>",
    "<!--[if !mso]><!--><p>{{x}}</p><!--<![endif]--><b>",
]


def filled(source: str, value: str) -> str:
    return compile_html(source).render({"x": value})


class Structure(HTMLParser):
    """Tags, names of attributes, comments and declarations of a document, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[object] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.seen.append("!--")

    def handle_decl(self, decl: str) -> None:
        self.seen.append("!")

    def unknown_decl(self, data: str) -> None:
        self.seen.append("![")


def structures(html: str) -> list[list[object]]:
    """As a browser and as Outlook read it."""
    return [Structure(html).seen, Structure(html.replace("<!--[if mso]>", "")).seen]


nasty = st.one_of(
    st.sampled_from([*WEB, *NOT_A_URL, *LINKS, CONTENT_ID, "--", "-", "!", "--!", "[if mso]", "]]"]),
    st.text(alphabet="\"'<>=/ \t\n\r\f`&;#{}()[]\\-!:x\0é"),
    st.text(alphabet="\"'<> \n=\\").map("https://e.co/".__add__),
    st.text(alphabet=st.characters(codec="utf-8")),
)


@settings(deadline=None, max_examples=500)
@given(nasty, st.sampled_from(SAFE), st.sampled_from(SAFE))
@example("""https://e.co/"'><script>alert(1)</script> onclick=x `{{ x }}` &amp; =/\\--><!--""", *SAFE[:2])
def test_no_value_changes_what_the_template_is_made_of(value: str, first: str, second: str) -> None:
    source = f"{first}\n</p>{second}"
    try:
        pattern = compile_html(source)
        rendered = pattern.render({"x": value})
    except UnsafeField:
        return
    assert structures(rendered) == structures(pattern.render({"x": "https://e.co/"}))


@pytest.mark.parametrize("source", SAFE)
@pytest.mark.parametrize(
    "value", ["--", "!", "-", "", "-->", "x y", "</style><b>", "';}", '" b=c', "https://e.co/' b=c"]
)
def test_no_nasty_value_changes_what_a_template_is_made_of(source: str, value: str) -> None:
    try:
        rendered = filled(source, value)
    except UnsafeUrl:
        return
    assert structures(rendered) == structures(filled(source, "https://e.co/"))


UNSAFE = [
    ("<{{x}}>", "the name of a tag"),
    ("</{{x}}>", "the name of a tag"),
    ("<h{{ x }}>", "the name of a tag"),
    ("<p {{x}}>", "the name of an attribute"),
    ("<option value=1 {{x}}>", "the name of an attribute"),
    ("<p data-{{x}}='1'>", "the name of an attribute"),
    ("<p title='a'{{x}}>", "the name of an attribute"),
    ("<a onclick='{{x}}'>", "an event handler"),
    ("<a OnClick=f({{x}})>", "an event handler"),
    ("<iframe srcdoc='{{x}}'>", "a document of its own (srcdoc)"),
    ("<script>var a = '{{x}}'</script>", "a script"),
    ("<SCRIPT>{{x}}", "a script"),
    ("<script></\u017fcript>{{x}}</script>", "a script"),
    ("<\u017f a='><script>{{x}}</script>'>", "a script"),
    ("<script src='{{x}}'></script>", "a script"),
    ("<script type='application/ld+json'>{{x}}</script>", "a script"),
    ("<title><a onclick='{{x}}'></title>", "an event handler"),
    ("<!--[if mso]><p {{x}}><![endif]-->", "the name of an attribute"),
    ("<svg><style/><a title={{x}}>", "a style that holds tags"),
    ("<a href='javascript:f({{x}})'>", "a script's or data URL"),
    ("<a href=' java&#115;cript&colon;f({{x}})'>", "a script's or data URL"),
    ("<img src='data:image/png;base64,{{x}}'>", "a script's or data URL"),
    ("<set to='javascript:{{x}}'>", "a script's or data URL"),
    ("<a href='{{x}}:alert(1)'>", "the scheme of a URL"),
    ("<a href='{{x}}://e.co'>", "the scheme of a URL"),
    ("<a href='java{{x}}:alert(1)'>", "the scheme of a URL"),
]


@pytest.mark.parametrize(("source", "place"), UNSAFE)
def test_where_no_value_is_safe_no_placeholder_is(source: str, place: str) -> None:
    with pytest.raises(UnsafePlace) as refusal:
        compile_html(source)
    assert (refusal.value.field, refusal.value.place) == ("x", place)
    assert refusal.value.allowed == f"stands in {place}, where no value is safe"
    assert compile_html(re.sub(r"{{ ?x ?}}", "{{}}", source)).is_constant
    assert compile_html(source, raw_fields=["x"]).names == {"x"}


@pytest.mark.parametrize(
    ("attribute", "more"),
    [("href", LINKS), ("xlink:href", LINKS), ("src", [CONTENT_ID]), ("BACKGROUND", [CONTENT_ID])]
    + [
        (name, [])
        for name in ("action", "cite", "formaction", "poster", "data", "longdesc", "srcset", "ping")
    ],
)
def test_a_placeholder_that_is_a_whole_url_takes_what_may_stand_there(
    attribute: str, more: list[str]
) -> None:
    source = f'<a {attribute}=" {{{{ x }}}} ">'
    for url in (*WEB, *more):
        escaped = url.strip().replace("&", "&amp;")
        assert filled(source, f" {url} ") == f'<a {attribute}=" {escaped} ">'
    for url in {*NOT_A_URL, *LINKS, CONTENT_ID} - set(more):
        with pytest.raises(UnsafeUrl) as refusal:
            filled(source, url)
        assert refusal.value.field == "x"
        with pytest.raises(UnsafeUrl):
            compile_html(source).check({"x": url})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("https://e.co", "https://e.co"),
        (" http://e.co:80/a/ ", "http://e.co:80/a/"),
        ("https://e.co/?a=1&b=[c]@%20!$()*+,;~'", "https://e.co/?a=1&amp;b=[c]@%20!$()*+,;~&#x27;"),
        ('https://e.co/ü <b>"\\^`{}|', "https://e.co/%C3%BC%20%3Cb%3E%22%5C%5E%60%7B%7D%7C"),
    ],
)
@pytest.mark.parametrize("after", ["/path", "?u={{y}}", "#{{y}}", "/"])
def test_a_placeholder_that_begins_a_url_is_kept_as_one(value: str, written: str, after: str) -> None:
    html = compile_html(f"<a href='{{{{x}}}}{after}'>").render({"x": value, "y": "/&"})
    assert html == f"<a href='{written}{after.replace('{{y}}', '%2F%26')}'>"


@pytest.mark.parametrize("value", [*NOT_A_URL, *LINKS, "mailto:a@b.co", CONTENT_ID, "https://e.co/\x01"])
def test_what_begins_a_url_is_one_of_the_web(value: str) -> None:
    pattern = compile_html("<a href='{{ x }}/path'>")
    for use in (pattern.render, pattern.check):
        with pytest.raises(UnsafeUrl, match="http or https"):
            use({"x": value})


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (
            "<img srcset='{{x}} 1x, {{x}}/b 2x'>",
            "<img srcset='https://e.co/a,%20b 1x, https://e.co/a,%20b/b 2x'>",
        ),
        ("<img srcset='{{x}},'>", "<img srcset='https://e.co/a,%20b,'>"),
        ("<img srcset='/a/{{x}} 1x'>", "<img srcset='/a/https%3A%2F%2Fe.co%2Fa%2C%20b 1x'>"),
        ("<a ping='{{x}} {{x}}'>", "<a ping='https://e.co/a,%20b https://e.co/a,%20b'>"),
        ("<img lowsrc='/{{x}}'>", "<img lowsrc='/https%3A%2F%2Fe.co%2Fa%2C%20b'>"),
        ("<set to='{{x}}'>", "<set to='https%3A%2F%2Fe.co%2Fa%2C%20b'>"),
        ("<p to='{{x}}'>", "<p to='https://e.co/a, b'>"),
        ("<meta name=x content='{{x}}'>", "<meta name=x content='https://e.co/a, b'>"),
        (
            "<meta content='1;url={{x}}' http-equiv=' Refresh'>",
            "<meta content='1;url=https://e.co/a, b' http-equiv=' Refresh'>",
        ),
        (
            "<meta http-equiv=refresh content='1;url=/{{x}}'>",
            "<meta http-equiv=refresh content='1;url=/https%3A%2F%2Fe.co%2Fa%2C%20b'>",
        ),
        (
            "<meta http-equiv={{y}} content='/{{x}}'>",
            "<meta http-equiv=\"{{y}}\" content='/https%3A%2F%2Fe.co%2Fa%2C%20b'>",
        ),
        ("<a href='{{x}}{{x}}'>", "<a href='" + 2 * "https%3A%2F%2Fe.co%2Fa%2C%20b" + "'>"),
    ],
)
def test_urls_are_found_where_they_stand(source: str, written: str) -> None:
    assert filled(source, "https://e.co/a, b") == written


@pytest.mark.parametrize("source", ["<style>a { b: %s }</style>", "<p style='b: %s'>", '<p style="%s">'])
def test_in_css_a_value_cannot_leave_where_it_stands(source: str) -> None:
    written = filled(source % "{{x}}", "#f00 1.5em, 50% ü-_ ';}</*\n\"\\")
    assert written == source % r"#f00 1.5em, 50% ü-_ \27 \3b \7d \3c \2f \2a \a \22 \5c "


def test_a_url_in_css_is_escaped_and_means_the_same() -> None:
    assert filled("<p style='background:url({{x}})'>", "http://e.co") == (
        r"<p style='background:url(http\3a \2f \2f e.co)'>"
    )


def test_in_a_comment_a_value_cannot_end_it_or_make_another_of_it() -> None:
    assert filled("<!-- id: {{x}} -->", "2026-05-01 <b>") == "<!-- id: 2026-05-01 &lt;b&gt; -->"
    assert filled("<!--{{x}}>", "") == "<!--&#32;>"
    assert filled("<!--{{x}}>", "-") == "<!--&#45;>"
    assert filled("<!--{{x}}>", "[if mso]") == "<!--&#91;if mso]>"
    assert filled("<!-- -{{x}}>", "-!") == "<!-- -&#45;&#33;>"


NEWSLETTER = """<!DOCTYPE html><html lang="{{ lang }}"><head><meta charset="utf-8">
<meta http-equiv="Content-Type" content="text/html; charset=utf-8">
<meta name="description" content="{{ preview }}"><title>{{ title }}</title>
<style>.a { color: {{ colour }}; } @media (max-width:600px) { .b { width: 100% } }</style>
<!--[if mso]><style>td { font-family: {{ font }} }</style>
<xml><o:PixelsPerInch>96</o:PixelsPerInch></xml><![endif]-->
</head><body style="background-color: {{ colour }}" bgcolor="{{ colour }}"><!-- campaign {{ campaign }} -->
<!--[if mso]><v:roundrect href="{{ url }}" fillcolor="{{ colour }}">{{ label }}</v:roundrect><![endif]-->
<!--[if !mso]><!--><a href="{{ url }}" title="{{ title }}" target="_blank">{{ label }}</a><!--<![endif]-->
<img src="{{ logo }}" alt="{{ name }}" width="{{ width }}">
<a href="https://e.co/u?e={{ email }}&amp;t={{ token }}">x</a>
<a href="mailto:{{ contact }}?subject={{ title }}">m</a><a href="{{ base }}/shop?c={{ campaign }}">s</a>
<img src="https://e.co/o/{{ token }}.gif" width=1 height=1></body></html>"""


def test_an_ordinary_newsletter_is_taken() -> None:
    pattern = compile_html(NEWSLETTER)
    fields = dict.fromkeys(pattern.names, "x")
    urls = dict.fromkeys(("url", "base", "logo"), "https://e.co")
    pattern.check(fields | urls)
    assert Structure(pattern.render(fields | urls)).seen == Structure(pattern.render({})).seen


def test_a_list_of_many_urls_is_read_in_proportion_to_them() -> None:
    began = process_time()
    compile_html(f"<img srcset='{'{{x}}, ' * 20_000}'>")
    assert process_time() - began < 1.5
