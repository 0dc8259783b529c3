"""Links and pixel, found and rewritten: a corpus of what is awkward, and what holds of any HTML."""

import re
import time
from binascii import a2b_qp
from html import unescape
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.dispatch.marking import MarkedHtml, TokenMaker
from kannon.core.canonical import relaxed_lines
from kannon.core.errors import BadInput
from kannon.core.fields import compile_html, html_edits
from kannon.core.quoted_printable import QuotedPattern
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.destinations import destination
from kannon.core.tracking.links import compile_tracked
from kannon.core.tracking.policy import UNTRACKED, Mode, Policy
from kannon.core.tracking.tokens import MAX_URL_OCTETS, is_destination
from tests.link_corpus import Case, cases
from tests.link_expectations import expected
from tests.mail import DOMAIN, batch_content, delivery

FIELDS = {
    "email": "ada@example.org",
    "word": "two words",
    "url": "https://e.co/u?a=1&b='2'",
    "mail": "mailto:a@e.co?subject=a&b",
    "anchor": "#top",
    "empty": "",
    "base": "https://e.co/bäse",
    "host": "shop.example",
    "markup": '<a href="https://e.co/1">',
    "unsubscribe": f"https://stats.{DOMAIN}/u/abc",
}
PIXEL_HTML = f'<img src="https://stats.{DOMAIN}/o/pixel" width="1" height="1" alt="" style="border:0">'
LINK = f"https://stats.{DOMAIN}/c/"


class Told:
    """Numbers what links lead to, instead of signing it."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def mint(self, claims: Claims) -> str:
        if claims.audience is Audience.OPEN:
            return "pixel"
        assert claims.url not in self.urls, "one token for one URL"
        self.urls.append(claims.url)
        return f"{len(self.urls)}"


def sent(html: str, policy: Policy, fields: dict[str, str] = FIELDS) -> tuple[str, list[str]]:
    told = Told()
    content = batch_content(html=html, tracking=policy)
    quoted = MarkedHtml(content, TokenMaker(told.mint, lambda: "x")).render(delivery(1), fields)
    assert quoted.canonical == relaxed_lines(quoted.wire)
    assert max(map(len, quoted.wire.split(b"\r\n"))) <= 76
    return a2b_qp(quoted.wire).decode(), told.urls


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_what_is_awkward_is_sent_as_it_should_be(case: Case) -> None:
    opens = Mode.IDENTIFIED if case.has_pixel else Mode.OFF
    html, urls = sent(case.html, Policy(opens, Mode.IDENTIFIED))
    marked = re.sub(rf"{re.escape(LINK)}(\d+)", r"{\1}", html.replace(PIXEL_HTML, "{pixel}")).replace(
        "\r\n", "\n"
    )
    assert marked == case.sent
    assert tuple(urls) == case.urls
    assert all(map(is_destination, urls))


def test_the_corpus_is_there() -> None:
    found = cases()
    assert len(found) >= 60
    assert len({case.name for case in found}) == len(found)


def leads(written: str) -> str | None:
    """Where an `href` leads, if it is one of those that are made up here."""
    url = unescape(written).strip("\n\t ").replace("\n", "")
    if not re.match("https?://[a-z]", url, re.IGNORECASE) or not is_host(
        url.partition("//")[2].partition("/")[0]
    ):
        return None
    url = re.sub('[^!-~]+|["<>`]', lambda found: quote(found[0]), url)
    scheme, colon, rest = url.partition(":")
    return scheme.lower() + colon + rest


def is_host(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+", text, re.ASCII) is not None


def wanted(html: str, policy: Policy) -> tuple[str, list[str]]:
    pixel = PIXEL_HTML if policy.opens > Mode.OFF else ""
    links = policy.links > Mode.OFF
    html, urls = expected(html, leads, lambda number: f"{LINK}{number}", pixel, links=links)
    return html.replace("\n", "\r\n"), urls


CONSTANT = [
    *(
        "<a ",
        "<A\n",
        "<area ",
        "<b ",
        "</a>",
        '<a href="https://e.co/">',
        "<",
        "</",
        "<!",
        "?",
        ">",
        "/",
        "=",
        " ",
        "\n",
    ),
    *("href=", "HREF='", 'href="', "href = ", " data-no-track", "data-no-track=", '"', "'"),
    *("https://e.co/", "http://e.co/x", "HTTPS://e.co/?b", "mailto:a@e.co", "#", "é", "&amp;", "&quot;", "x"),
    *("--", "<!--", "-->", "--!>", "<!-->"),
    *("<!--[if mso]>", "<![endif]-->", "<!--[if !mso]><!-->", "<!--<![endif]-->"),
    *("<script>", "</script>", "<title", "</title>", "<style>", "</style ", "<textarea>", "</textarea>"),
    *("<body>", "</body>", "</BODY\n>", "</html>", "<html ⚡4email>"),
]
FILLED = ["{{ word }}", "{{ url }}", "{{ email }}", "{{ none }}", "{{ markup }}", "{{ mail }}", "{{ empty }}"]
POLICIES = [Policy(opens, links) for opens in Mode for links in Mode]
constant_html = st.lists(st.sampled_from(CONSTANT), max_size=30).map("".join)
filled_html = st.lists(st.sampled_from(CONSTANT + FILLED), max_size=30).map("".join)


@settings(deadline=None)
@given(constant_html, st.sampled_from(POLICIES))
@example("</", Policy(Mode.FULL, Mode.FULL))
@example("<a href=https://e.co/ data-no-track/>", Policy(Mode.FULL, Mode.FULL))
def test_of_any_html_nothing_but_links_and_pixel_is_changed(html: str, policy: Policy) -> None:
    assert sent(html, policy) == wanted(html, policy)


@settings(deadline=None)
@given(filled_html, st.sampled_from(POLICIES))
def test_what_is_filled_in_is_tracked_as_if_it_had_been_written(html: str, policy: Policy) -> None:
    try:
        untracked = compile_html(html).render(FIELDS)
    except BadInput:
        return
    assert sent(html, policy) == wanted(untracked, policy)


@settings(deadline=None)
@given(filled_html.map(lambda html: html.replace("data-no-track", "data-track")))
def test_what_is_not_tracked_is_as_if_there_were_no_tracking(html: str) -> None:
    try:
        plain = QuotedPattern(compile_html(html)).render(FIELDS)
    except BadInput:
        return
    content = batch_content(html=html, tracking=UNTRACKED)
    assert MarkedHtml(content, TokenMaker(Told().mint, lambda: "x")).render(delivery(1), FIELDS) == plain


@settings(deadline=None)
@given(st.text(max_size=200))
@example("https://e.co/" + "é" * 4000)
@example("https://e.co\\@f.co:99999999999/\x85")
def test_where_a_link_leads_is_ascii_that_can_be_tracked_and_stays_what_it_is(value: str) -> None:
    for written in (value, f"https://{value}", f"https://e.co/{value}"):
        url = destination(written)
        if url is not None:
            assert url.isascii()
            assert is_destination(url)
            assert destination(url) == url


@pytest.mark.parametrize(("length", "is_tracked"), [(2000, True), (MAX_URL_OCTETS, True), (5000, False)])
def test_long_urls_are_tracked_up_to_what_a_token_takes(length: int, is_tracked: bool) -> None:
    url = "https://e.co/?q=".ljust(length, "x")
    html, urls = sent(f'<a href="{url}">one</a>', Policy(Mode.OFF, Mode.FULL))
    assert urls == ([url] if is_tracked else [])
    assert html == (f'<a href="{LINK}1">one</a>' if is_tracked else f'<a href="{url}">one</a>')


def test_links_that_hold_a_raw_field_are_left() -> None:
    html = "<a href='https://e.co/{{ word }}'>{{ word }}</a><a href='https://e.co/{{ url }}'>"
    tracked = compile_tracked(html, html_edits(html, ["word"]), opens=False, links=True)
    (link,) = tracked.links
    assert link.href.names == {"url"}
    assert tracked.pattern.render({"word": "' x='", link.slot: "L"}) == (
        "<a href='https://e.co/' x=''>' x='</a><a href='L'>"
    )


def test_a_field_cannot_have_the_name_of_a_slot() -> None:
    html = "<a href='https://e.co/'>one</a>{{ {0} }}"
    fields = {"{0}": "https://evil.example/", "{pixel}": "evil"}
    assert "evil" not in sent(html, Policy(Mode.FULL, Mode.FULL), fields)[0]


@pytest.mark.parametrize(
    "piece", ["<a href=", "<a href='https://e.co/'>", "<!--", "<a data-no-track ", "<a href='"]
)
def test_finding_links_takes_time_by_the_length(piece: str) -> None:
    def seconds(times: int) -> float:
        html = piece * times
        begin = time.process_time()
        compile_tracked(html, html_edits(html), opens=True, links=True)
        return time.process_time() - begin

    assert min(seconds(20_000) for _ in range(3)) < 40 * max(min(seconds(2_000) for _ in range(3)), 0.001)
