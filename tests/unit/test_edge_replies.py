"""SMTP replies, put together and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_smtp.replies import MAX_LINES, MAX_TEXT, MalformedReply, Reply, ReplyReader


def test_single_lines_and_several_in_one_piece() -> None:
    replies = list(ReplyReader().feed(b"250 2.1.0 ok\r\n550 no\r\n354\r\n"))
    assert replies == [Reply(250, (b"2.1.0 ok",)), Reply(550, (b"no",)), Reply(354, (b"",))]


def test_a_reply_of_many_lines() -> None:
    reader = ReplyReader()
    assert list(reader.feed(b"250-one\r\n250-")) == []
    assert reader.has_begun
    assert list(reader.feed(b"two\n250 three\r\n")) == [Reply(250, (b"one", b"two", b"three"))]
    assert not reader.has_begun


@given(st.integers(1, 60))
def test_where_the_octets_are_parted_does_not_matter(size: int) -> None:
    wire = b"220 hello\r\n250-a\r\n250-b\r\n250 c\r\n421 4.3.2 bye\r\n"
    reader = ReplyReader()
    replies = [reply for at in range(0, len(wire), size) for reply in reader.feed(wire[at : at + size])]
    assert [reply.code for reply in replies] == [220, 250, 421]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"1000 x\r\n",
        b"600 x\r\n",
        b"250x\r\n",
        b"2" * 9000,
        b"250-x\r\n" * (MAX_LINES + 1),
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(MalformedReply):
        list(ReplyReader().feed(data))


def test_what_came_before_it_is_still_read() -> None:
    replies: list[Reply] = []
    with pytest.raises(MalformedReply):
        replies.extend(ReplyReader().feed(b"220 go ahead\r\nnonsense\r\n"))
    assert [reply.code for reply in replies] == [220]


@pytest.mark.parametrize(
    ("lines", "enhanced", "text"),
    [
        ([b"5.1.1 no such user"], "5.1.1", "no such user"),
        ([b"5.1.1"], "5.1.1", ""),
        ([b"no such user"], "", "no such user"),
        ([b"4.7.1 slow", b"4.7.1 down"], "4.7.1", "slow down"),
        ([b"first", b"5.7.26 second"], "5.7.26", "first second"),
        ([b"5.1.10.2 is an address"], "", "5.1.10.2 is an address"),
        ([b"a\x00b\x1b[31mc\td"], "", "a b [31mc d"),
        (["Grüße ".encode(), b"\xff"], "", "Grüße �"),
        ([b"x" * 2000], "", "x" * MAX_TEXT),
    ],
)
def test_code_and_text(lines: list[bytes], enhanced: str, text: str) -> None:
    assert Reply(550, tuple(lines)).parts() == (enhanced, text)


@pytest.mark.parametrize(
    ("code", "positive"), [(199, False), (200, True), (250, True), (299, True), (354, False)]
)
def test_what_is_a_yes(code: int, positive: bool) -> None:
    assert Reply(code, ()).is_positive is positive
