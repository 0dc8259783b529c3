"""Envelopes made ready for the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_smtp.outgoing import BLOCK, Outgoing, Unsendable
from kannon.core.replies import Stage
from tests.edge_samples import an_envelope

ALL = {"SIZE": "1000000", "8BITMIME": "", "SMTPUTF8": ""}
PLAIN = b"Subject: x\r\n\r\nbody\r\n"
EIGHT_BIT = "Subject: x\r\n\r\nGrüße\r\n".encode()
UTF8_HEADER = "Subject: Grüße\r\n\r\nbody\r\n".encode()


def unstuffed(wire: bytes) -> bytes:
    """The message that a receiver makes of what follows DATA (RFC 5321 §4.5.2)."""
    assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
    lines = wire[:-3].split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@pytest.mark.parametrize(
    ("body", "address", "command"),
    [
        (PLAIN, "bob@example.test", "MAIL FROM:<bounce+token@sender.test> SIZE=20"),
        (EIGHT_BIT, "bob@example.test", "MAIL FROM:<bounce+token@sender.test> SIZE=23 BODY=8BITMIME"),
        (
            UTF8_HEADER,
            "bob@example.test",
            "MAIL FROM:<bounce+token@sender.test> SIZE=26 BODY=8BITMIME SMTPUTF8",
        ),
        (PLAIN, "jörg@example.test", "MAIL FROM:<bounce+token@sender.test> SIZE=20 SMTPUTF8"),
    ],
)
def test_mail_says_what_the_message_needs(body: bytes, address: str, command: str) -> None:
    mail = Outgoing.of(an_envelope(body=body, recipient=address))
    assert mail.mail_command(ALL) == f"{command}\r\n".encode()


def test_nothing_is_said_that_the_peer_does_not_know() -> None:
    assert Outgoing.of(an_envelope(return_path="")).mail_command({}) == b"MAIL FROM:<>\r\n"


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("Bob@Example.test", "RCPT TO:<Bob@example.test>"),
        ("bob@exämple.test", "RCPT TO:<bob@xn--exmple-cua.test>"),
        ("jörg@exämple.test", "RCPT TO:<jörg@xn--exmple-cua.test>"),
    ],
)
def test_the_domain_goes_out_in_ascii(address: str, command: str) -> None:
    mail = Outgoing.of(an_envelope(recipient=address))
    assert mail.rcpt_command() == f"{command}\r\n".encode()
    assert mail.needs_utf8 is (not command.isascii())


@pytest.mark.parametrize(
    ("body", "address", "offered", "code", "enhanced"),
    [
        (EIGHT_BIT, "b@example.test", {}, 550, "5.6.3"),
        (UTF8_HEADER, "b@example.test", {"8BITMIME": ""}, 550, "5.6.7"),
        (PLAIN, "jörg@example.test", {"8BITMIME": ""}, 550, "5.6.7"),
        (PLAIN, "b@example.test", {"SIZE": "19"}, 552, "5.3.4"),
    ],
)
def test_what_the_peer_lacks(
    body: bytes, address: str, offered: dict[str, str], code: int, enhanced: str
) -> None:
    with pytest.raises(Unsendable) as raised:
        Outgoing.of(an_envelope(body=body, recipient=address)).mail_command(offered)
    refusal = raised.value.refusal
    assert (refusal.stage, refusal.code, refusal.enhanced) == (Stage.MAIL, code, enhanced)


@pytest.mark.parametrize("limit", ["", "0", "20", "words"])
def test_a_size_that_does_not_limit(limit: str) -> None:
    assert b"SIZE=20" in Outgoing.of(an_envelope(body=PLAIN)).mail_command({"SIZE": limit})


@pytest.mark.parametrize("body", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\n.\n\r\n", b"a\n.\r\n", b"\r\r\n", b"x\n"])
def test_a_line_end_of_one_octet_is_not_sent(body: bytes) -> None:
    with pytest.raises(Unsendable) as raised:
        Outgoing.of(an_envelope(body=body))
    assert raised.value.refusal.stage is Stage.DATA


@pytest.mark.parametrize("path", ["a b@x.test", "a@x.test> SIZE=1", "a@x.test\r\nRCPT TO:<b", "a@x\x00"])
def test_a_return_path_cannot_add_to_the_command(path: str) -> None:
    with pytest.raises(Unsendable):
        Outgoing.of(an_envelope(return_path=path))


@pytest.mark.parametrize("address", ["", "bob", "bob@", "bob@localhost", "a b@x.test", "a@x.test>\r\nDATA"])
def test_what_is_no_address_is_not_sent(address: str) -> None:
    with pytest.raises(Unsendable) as raised:
        Outgoing.of(an_envelope(recipient=address))
    assert (raised.value.refusal.stage, raised.value.refusal.enhanced) == (Stage.RCPT, "5.1.3")


@given(st.lists(st.sampled_from([b".", b"..", b"a", b"", b".a", b"x" * 70]), max_size=30), st.booleans())
def test_dots_are_stuffed(lines: list[bytes], ends: bool) -> None:
    body = b"\r\n".join([b"h: v", *lines]) + (b"\r\n" if ends else b"")
    wire = b"".join(Outgoing.of(an_envelope(body=body)).blocks())
    assert unstuffed(wire) == (body if body.endswith(b"\r\n") else body + b"\r\n")


@pytest.mark.parametrize("size", [1, BLOCK - 2, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7])
def test_large_messages_go_in_blocks_and_only_the_last_has_the_dot(size: int) -> None:
    body = (b"." * 62 + b"\r\n") * (size // 64 + 1)
    blocks = list(Outgoing.of(an_envelope(body=body)).blocks())
    assert all(len(block) <= BLOCK + 5 for block in blocks)
    assert unstuffed(b"".join(blocks)) == body
    assert blocks[-1].endswith(b"\r\n.\r\n")
    assert not any(b"\r\n.\r\n" in block for block in blocks[:-1])
