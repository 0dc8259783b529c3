"""Patterns that are filled as they are encoded: the same text, sooner."""

import re
from binascii import a2b_qp

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kannon.core.canonical import relaxed_lines
from kannon.core.fields import UnsafeHeader, compile_header, compile_html, compile_text
from kannon.core.quoted_printable import Quoted, QuotedPattern, encode_body

LINE = re.compile(rb"(?:[!-<>-~ \t]|=[0-9A-F]{2})*=?")
PLACEHOLDERS = ["{{ a }}", "{{a}}", "{{ b }}", "{{ none }}", "{{ é }}"]

pieces = st.one_of(
    st.sampled_from(PLACEHOLDERS),
    st.sampled_from(
        [" ", "  ", "\t", "\n", "\r\n", "\r", ".", "=", "é", "Dear ", "x" * 74, "x" * 75, "word " * 30]
    ),
    st.text(st.characters(codec="utf-8"), max_size=100),
)
sources = st.lists(pieces, max_size=12).map("".join)
values = st.one_of(
    st.sampled_from(
        ["", " ", "Ada", "Ada Lovelace", "Zoë", " \n", "\r", "\nb", "a  b", "a\tb", "a ", "é" * 40, "."]
    ),
    st.integers(70, 80).map("x".__mul__),
    st.integers(70, 80).map(lambda length: "x" * length + " "),
    st.text(st.characters(codec="utf-8"), max_size=100),
)


def decoded(quoted: Quoted) -> bytes:
    return a2b_qp(quoted.wire)


def plain(text: str) -> bytes:
    return re.sub("\r\n|\r|\n", "\r\n", text).encode("utf-8", "replace")


@settings(deadline=None)
@given(sources, values, values)
@example("Dear {{ a }}\n{{ a }}", "", "")
@example("Dear {{ a }}", " ", "")
@example("{{ a }}{{ b }}{{ a }}", "", "a ")
@example("\r{{ a }}", "\n", "")
@example("{{ a }}\n", "\r", "")
@example("x" * 75 + "{{ a }}", "x" * 75, "")
@example("{{ a }}x", "é" * 12 + "x" * 4, "")
@example("{{ a }}\n", "x" * 75 + " ", "")
def test_a_filled_pattern_reads_as_if_it_were_encoded_afterwards(source: str, a: str, b: str) -> None:
    fields = {"a": a, "b": b}
    pattern = compile_text(source)
    quoted = QuotedPattern(pattern).render(fields)
    assert decoded(quoted) == plain(pattern.render(fields))
    assert quoted.canonical == relaxed_lines(quoted.wire)
    lines = quoted.wire.split(b"\r\n")
    assert max(map(len, lines)) <= 76
    assert all(LINE.fullmatch(line) for line in lines)
    assert not re.search(rb"[ \t](\r\n|\Z)|=\Z", quoted.wire)


@settings(deadline=None)
@given(sources, values, values)
def test_html_is_filled_likewise(source: str, a: str, b: str) -> None:
    pattern = compile_html(
        f"<p>{source.replace('<', '')}</p><a href='https://e.co/?q={{{{ a }}}}'>{{{{ a }}}}</a>"
    )
    fields = {"a": a, "b": b}
    quoted = QuotedPattern(pattern).render(fields)
    assert decoded(quoted) == plain(pattern.render(fields))
    assert quoted.canonical == relaxed_lines(quoted.wire)


@settings(deadline=None)
@given(sources, values, values)
@example("=" * 75 + "{{ a }}" + "=" * 75, "=", "")
def test_it_takes_at_most_six_octets_more_for_each_placeholder(source: str, a: str, b: str) -> None:
    pattern = compile_text(source)
    whole = encode_body(pattern.render({"a": a, "b": b}))
    quoted = QuotedPattern(pattern).render({"a": a, "b": b})
    moved = len(whole) // 30  # lines that begin elsewhere break elsewhere
    assert len(quoted.wire) <= len(whole) + 6 * len(pattern.slots) + moved


@pytest.mark.parametrize("behind", ["", "!", "\n", " ", "{{ b }}"])
@pytest.mark.parametrize("last", ["", " ", "é", "="])
def test_values_about_as_long_as_a_line_come_back_the_same(last: str, behind: str) -> None:
    for before in range(78):
        pattern = compile_text("y" * before + "{{ a }}" + behind)
        filled_in = QuotedPattern(pattern)
        for length in (*range(68, 79), 76 - before):
            fields = {"a": "x" * length + last}
            quoted = filled_in.render(fields)
            assert max(map(len, quoted.wire.split(b"\r\n"))) <= 76
            assert decoded(quoted) == plain(pattern.render(fields))


def test_what_is_constant_is_encoded_once() -> None:
    pattern = QuotedPattern(compile_text("Hëllo"))
    assert pattern.is_constant
    assert pattern.render({}) is pattern.render({"a": "b"})
    assert not QuotedPattern(compile_text("{{ a }}")).is_constant


def test_names_do_not_break_lines_that_have_room() -> None:
    quoted = QuotedPattern(compile_text("Dear {{ a }},\nhello {{ b }}!\n{{ a }}"))
    wire = b"Dear Zo=C3=AB=\r\n,\r\nhello Bo Li=\r\n!\r\nZo=C3=AB"
    assert quoted.render({"a": "Zoë", "b": "Bo Li"}) == Quoted(wire, wire)


def test_lines_are_ended_only_where_they_have_to_be() -> None:
    for value, wire in [
        (" a", b" a=\r\n!"),
        ("a\nb", b"a\r\nb=\r\n!"),
        ("", b"=\r\n!"),
        ("é ", b"=C3=A9 =\r\n!"),
    ]:
        assert QuotedPattern(compile_text("{{ a }}!")).render({"a": value}).wire == wire
    assert QuotedPattern(compile_text("Dear {{ a }}!")).render({"a": ""}).wire == b"Dear =\r\n!"
    assert QuotedPattern(compile_text("Dear {{ a }}")).render({"a": ""}).wire == b"Dear =\r\n"


def test_a_refused_value_is_refused() -> None:
    with pytest.raises(UnsafeHeader):
        QuotedPattern(compile_header("{{ a }}")).render({"a": "\n"})
