"""How large messages get, told without building them."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.dispatch.marking import MarkedHtml
from kannon.core.fields import UnsafeUrl, compile_html, compile_text, html_edits
from kannon.core.message_sizes import HEADER_ROOM, MessageSizes
from kannon.core.mime import encode_body
from kannon.core.plain_text import text_from_html
from kannon.core.tracking.links import compile_tracked
from kannon.core.tracking.policy import Mode, Policy
from tests.mail import batch_content, delivery, token_maker

PIECES = ["<p>{{x}}</p>", "{{x}}", "<a href='https://e.co/{{x}}'>", "<a href='{{x}}/'>a</a>", "<!--{{x}}-->"]
PIECES += [
    "<p style='{{x}}'>",
    "{{g}}",
    "some text ",
    "ü",
    "=",
    "\n",
    " \n",
    "x" * 70,
    "=" * 300,
    "\t{{x}}\n",
]
VALUES = st.one_of(
    st.text(max_size=500),
    st.sampled_from(["'" * 400, "=" * 400, "\U0001f600" * 300, "ü" * 300, "\n" * 300, " \n" * 200, "", " "]),
    st.text(alphabet="a'=\n \U0001f600", max_size=300).map("https://e.co/".__add__),
)


def sizes(html: str) -> MessageSizes:
    tracked = compile_tracked(html, html_edits(html), opens=True, links=True)
    return MessageSizes(compile_html(html), compile_text(text_from_html(html)), tracked)


def test_the_size_is_that_of_html_and_text_as_they_are_sent() -> None:
    html = "<p>Hëllo</p>" * 1000
    text = "\n\n".join(["Hëllo"] * 1000)
    assert sizes(html).unfilled == len(encode_body(html)) + len(encode_body(text)) + HEADER_ROOM
    filled = sizes("<p>{{x}}</p>").exact({"x": "'"})
    assert filled == len("<p>&#x27;=\r\n</p>") + len("'") + HEADER_ROOM


def test_without_placeholders_nothing_makes_it_larger() -> None:
    told = sizes("<p>a</p>")
    assert told.bound({"g": "x" * 9000}, {"x": "y" * 9000}) == told.exact({"x": "y"}) == told.unfilled
    assert told.per_character == 0
    assert not told.names


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=40), VALUES, VALUES)
@example(["=" * 300] * 40 + ["{{x}}"] + ["=" * 300] * 40, "ab", "")
@example(["x" * 70, "{{x}}", "\n"] * 40, "x" * 7, "")
@example(["<p style='{{x}}'>"], "\u2019" * 500, "")
@example(["<a href='https://e.co/{{x}}'>"] * 30, "\U0001f600" * 300, "")
def test_no_message_is_larger_than_its_bound(pieces: list[str], value: str, common: str) -> None:
    told = sizes("".join(pieces))
    try:
        exact = told.exact({"g": common, "x": value})
    except UnsafeUrl:
        return
    bound = told.bound({"g": common}, {"x": value})
    assert told.least({"g": common, "x": value}) <= exact <= bound
    assert bound <= told.bound({"g": common}) + told.per_character * len(value)


LINKS = [
    "<a href='https://e.co/{{x}}'>",
    "<a href='{{x}}'>",
    "<a href={{x}}/>a</a>",
    "<a href='https://e.co/é&amp;'>",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(LINKS), max_size=40), VALUES, st.sampled_from(list(Mode)))
@example(LINKS * 10, "https://e.co/" + "\U0001f600" * 300, Mode.PSEUDONYMOUS)
@example(LINKS * 10, "https://e.co/" + "'" * 1000, Mode.FULL)
def test_whatever_is_tracked_no_message_is_larger_than_told(
    pieces: list[str], value: str, mode: Mode
) -> None:
    html = "".join(pieces)
    content = batch_content(html=html, tracking=Policy(mode, mode), domain="x" * 61 + ".eu")
    try:
        told = sizes(html).exact({"x": value})
    except UnsafeUrl:
        return
    tracked = MarkedHtml(content, token_maker()).render(delivery(1), {"x": value})
    text = compile_text(text_from_html(html)).render({"x": value})
    assert len(tracked.wire) + len(encode_body(text)) + 19_000 <= told


@pytest.mark.parametrize("value", ["", "Ada", "Ada Lovelace"])
def test_the_bound_of_ordinary_mail_is_near(value: str) -> None:
    told = sizes("<p>Dear {{ name }},</p>" + "<p>Some words, as they come.</p>\n" * 2000)
    assert told.exact({"name": value}) <= told.bound({"name": value}) < 1.05 * told.exact({"name": value})
