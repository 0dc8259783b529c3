"""Where a line and a message end: at CRLF and at CRLF.CRLF, in whatever pieces they come."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_smtp.inbound.lines import BareLineEnd, Incoming, Lines

ENDS_OF_OTHERS = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\n.\r\n",
]
pieces = st.lists(st.integers(0, 60), max_size=20)
lines = st.lists(st.from_regex(rb"\A[.a\x80]{0,6}\Z"), max_size=12)


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    marks = sorted({min(mark, len(octets)) for mark in at} | {0, len(octets)})
    return [octets[start:stop] for start, stop in pairwise(marks)]


def read(octets: bytes, at: list[int], head: int = 1000) -> tuple[Incoming, bytes]:
    clean, incoming, rest = Lines(), Incoming(head), None
    for chunk in cut(octets, at):
        passed = clean.feed(chunk)
        if rest is None:
            rest = incoming.feed(passed)
        else:
            rest += passed
    assert rest is not None
    return incoming, rest


def feed(chunks: list[bytes]) -> bytes:
    clean = Lines()
    return b"".join([clean.feed(chunk) for chunk in chunks])


@given(lines, pieces)
def test_a_message_ends_at_its_dot_however_it_is_cut(written: list[bytes], at: list[int]) -> None:
    message = b"".join(line + b"\r\n" for line in written)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in written)
    incoming, rest = read(stuffed + b".\r\nQUIT\r\n", at)
    assert (incoming.message(), rest) == (message, b"QUIT\r\n")
    assert (incoming.size, incoming.truncated) == (len(stuffed), False)
    assert incoming.digest == hashlib.sha256(b"\r\n" + stuffed).hexdigest()


@given(st.integers(1, 400), pieces)
def test_of_a_long_message_the_beginning_is_kept_and_all_of_it_counts(length: int, at: list[int]) -> None:
    written = (b"a" * length) + b"\r\n"
    incoming, _ = read(written + b".\r\n", at, head=102)
    assert incoming.message() == written[:100]
    assert incoming.size == len(written)
    assert incoming.truncated is (len(written) > 100)
    assert incoming.digest == hashlib.sha256(b"\r\n" + written).hexdigest()


@pytest.mark.parametrize("end", ENDS_OF_OTHERS)
@given(at=pieces)
def test_what_other_servers_take_for_an_end_is_refused(end: bytes, at: list[int]) -> None:
    with pytest.raises(BareLineEnd):
        feed(cut(b"one\r\ntwo" + end + b"MAIL FROM:<a@b>\r\n", at))


@pytest.mark.parametrize("end", [b"\r\n.\0\r\n", b"\r\n\0.\r\n", b"\r\0\n.\r\n", b"\0"])
@given(at=pieces)
def test_nul_is_refused(end: bytes, at: list[int]) -> None:
    with pytest.raises(BareLineEnd):
        feed(cut(b"one" + end + b"two\r\n", at))


@given(st.binary(max_size=40), pieces)
def test_what_passes_has_no_bare_line_end_and_nothing_is_lost(octets: bytes, at: list[int]) -> None:
    try:
        passed = feed(cut(octets, at))
    except BareLineEnd:
        left = octets.replace(b"\r\n", b"")
        assert b"\r" in left or b"\n" in left or b"\0" in left
    else:
        assert passed == octets.removesuffix(b"\r")
        left = passed.replace(b"\r\n", b"")
        assert not {0, 10, 13} & set(left)


@pytest.mark.parametrize("dot", [b"\r\n .\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"x.\r\n", b"\r\n.x\r\n"])
def test_a_dot_with_something_beside_it_is_no_end(dot: bytes) -> None:
    assert Incoming(100).feed(b"one" + dot) is None
