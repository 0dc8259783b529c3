"""Messages: what a mail program reads in them, and what their octets may be."""

import re
import tracemalloc
from binascii import a2b_qp
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.attachments import Attachment
from kannon.core.fields import UnsafeHeader
from kannon.core.mime import MAX_LINE, Skeleton, encode_body, mailbox

DATE = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=1)))

any_text = st.text(alphabet=st.characters(codec="utf-8"), max_size=400)
header_text = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=200),
    st.text(alphabet='aB .,=?"\\<>@()_-\t;:é€😀', max_size=200),
    st.lists(st.sampled_from(["=?utf-8?q?x?=", "word", " ", "  ", "é", "x" * 70, ",", "="])).map("".join),
)
body_text = st.one_of(
    any_text,
    st.lists(
        st.sampled_from(["\r", "\n", "\r\n", ".", " ", "\t", "=", "From ", "é", "x" * 75, "word ", "--"])
    ).map("".join),
)


def skeleton(alias: str = "Kannon", sender: str = "news@example.com") -> Skeleton:
    return Skeleton.make(sender=sender, alias=alias, date=DATE, boundary="kannon-42")


def build(
    subject: str = "Hi", text: str | bytes = "Hi", html: str | bytes = "<p>Hi", alias: str = "Kannon"
) -> bytes:
    return skeleton(alias).build("ann@example.org", "<42.7@example.com>", subject, text, html).as_bytes()


def read(message: bytes) -> EmailMessage:
    parsed = message_from_bytes(message, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def shown_name(message: bytes) -> str:
    name, _ = parseaddr(message_from_bytes(message)["From"])
    return str(make_header(decode_header(name)))


def parts(message: EmailMessage) -> tuple[str, str]:
    text, html = message.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert not text.defects
    assert not html.defects
    return one_line_end(text.get_content()), one_line_end(html.get_content())


def one_line_end(text: str) -> str:
    return re.sub("\r\n?", "\n", text)


def lines_end_as_they_should(octets: bytes) -> bool:
    return re.search(rb"\r(?!\n)|(?<!\r)\n", octets) is None


def test_a_message_holds_what_it_was_built_from_and_nothing_else() -> None:
    assert build() == (
        b'From: "Kannon" <news@example.com>\r\n'
        b"To: ann@example.org\r\n"
        b"Subject: Hi\r\n"
        b"Date: Sun, 01 Mar 2026 12:30:00 +0100\r\n"
        b"Message-ID: <42.7@example.com>\r\n"
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: multipart/alternative; boundary="=_kannon-42"\r\n'
        b"\r\n"
        b"--=_kannon-42\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"Hi\r\n"
        b"--=_kannon-42\r\n"
        b'Content-Type: text/html; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"<p>Hi\r\n"
        b"--=_kannon-42--\r\n"
    )


@settings(deadline=None)
@given(header_text, header_text, body_text, body_text)
def test_a_mail_program_reads_back_what_was_sent(subject: str, alias: str, text: str, html: str) -> None:
    octets = build(subject, text, html, alias)
    message = read(octets)
    assert message["subject"] == subject
    (sender,) = message["from"].addresses
    assert shown_name(octets) == alias
    if len(alias.encode()) < 40:  # this parser folds spaces, and puts one between encoded words
        assert sender.display_name.split() == alias.split()
    assert sender.addr_spec == "news@example.com"
    assert parts(message) == (one_line_end(text), one_line_end(html))
    assert not message.defects


@settings(deadline=None)
@given(header_text, header_text, body_text, body_text)
def test_no_line_is_too_long_or_ends_in_half_an_end(subject: str, alias: str, text: str, html: str) -> None:
    octets = build(subject, text, html, alias)
    assert lines_end_as_they_should(octets)
    assert max(map(len, octets.split(b"\r\n"))) <= MAX_LINE
    assert octets.isascii()
    assert b"\0" not in octets


@settings(deadline=None)
@given(body_text)
def test_an_encoded_body_never_has_spaces_before_the_end_of_a_line(text: str) -> None:
    encoded = encode_body(text)
    assert lines_end_as_they_should(encoded)
    assert not re.search(rb"[ \t](\r\n|\Z)", encoded)
    assert b"=_" not in encoded


@pytest.mark.parametrize("last", [" ", "\t", "  ", " .", ".", "=", "é", "é ", "\0 "])
def test_lines_about_as_long_as_allowed_come_back_the_same(last: str) -> None:
    for length in range(68, 156):
        text = f"{'x' * length}{last}\n{'y' * length}{last}"
        encoded = encode_body(text)
        assert max(map(len, encoded.split(b"\r\n"))) <= MAX_LINE
        assert a2b_qp(encoded) == text.replace("\n", "\r\n").encode()


def test_a_body_that_is_the_same_for_all_can_be_encoded_once() -> None:
    assert build(text=encode_body("Olà\n"), html=encode_body("<p>é")) == build(text="Olà\n", html="<p>é")


def test_lone_surrogates_do_not_stop_a_mail() -> None:
    message = read(build("a\ud800b", "c\udfffd", "<p>\ud800"))
    assert message["subject"] == "a?b"
    assert parts(message) == ("c?d", "<p>?")


def test_a_subject_in_ascii_stays_readable_in_its_source() -> None:
    assert b"\r\nSubject: Your order, #12 (50% off!)\r\n" in build("Your order, #12 (50% off!)")
    subject = "word " * 30 + "end"
    assert b"\r\nSubject: word word" in build(subject)
    assert read(build(subject))["subject"] == subject


def test_a_subject_that_looks_encoded_arrives_as_it_was_typed() -> None:
    assert b"=?utf-8?B?" in build("=?utf-8?q?x?=")
    assert read(build("=?utf-8?q?x?="))["subject"] == "=?utf-8?q?x?="


def test_an_alias_is_quoted_and_may_be_missing() -> None:
    assert mailbox("a@b.co", 'Ann "the" \\ B., Inc.') == b'"Ann \\"the\\" \\\\ B., Inc." <a@b.co>'
    assert mailbox("a@b.co") == b"a@b.co"
    assert read(build(alias=""))["from"] == "news@example.com"


def test_a_local_part_in_unicode_is_written_as_it_is() -> None:
    message = skeleton(sender="señor@example.com").build(
        "josé@example.org", "<1.2@example.com>", "é", "a", "b"
    )
    assert dict(message.headers)["To"] == "josé@example.org".encode()
    assert dict(message.headers)["From"] == '"Kannon" <señor@example.com>'.encode()
    assert read(message.as_bytes())["to"] == "josé@example.org"


def test_many_addresses_are_folded_between_them() -> None:
    to = ", ".join(f"someone.number{number}@example.org" for number in range(40))
    octets = skeleton().build(to, "<1.2@example.com>", "Hi", "a", "b", [("Cc", to)]).as_bytes()
    assert max(map(len, octets.split(b"\r\n"))) <= MAX_LINE
    assert read(octets)["to"] == read(octets)["cc"] == to


def test_more_headers_stand_before_those_of_mime() -> None:
    extra = [
        ("List-Unsubscribe", "<https://e.co/u>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]
    message = skeleton().build("a@b.co", "<1.2@example.com>", "Hi", "a", "b", extra)
    names = [name for name, _ in message.headers]
    assert names[:5] == ["From", "To", "Subject", "Date", "Message-ID"]
    assert names[5:] == ["List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type"]


@pytest.mark.parametrize("bad", ["a\r\nBcc: x@y.co", "a\nb", "a\rb", "a\0b"])
def test_no_value_can_bring_a_header_of_its_own(bad: str) -> None:
    for values in [(bad, "<1@b>", "s"), ("a@b.co", bad, "s"), ("a@b.co", "<1@b>", bad)]:
        with pytest.raises(UnsafeHeader):
            skeleton().build(*values, "a", "b")
    with pytest.raises(UnsafeHeader):
        skeleton().build("a@b.co", "<1@b>", "s", "a", "b", [("Cc", bad)])
    with pytest.raises(UnsafeHeader):
        skeleton(alias=bad)
    with pytest.raises(UnsafeHeader):
        skeleton(sender=bad)


def test_the_date_must_say_its_zone_and_the_boundary_be_plain() -> None:
    with pytest.raises(ValueError, match="aware"):
        Skeleton.make(sender="a@b.co", alias="", date=datetime(2026, 1, 1), boundary="x")
    for boundary in ("", "x" * 51, "a b", 'a"b', "a\r\nb"):
        with pytest.raises(ValueError, match="boundary"):
            Skeleton.make(sender="a@b.co", alias="", date=datetime(2026, 1, 1, tzinfo=UTC), boundary=boundary)


def test_the_longest_boundary_is_folded_and_found_again() -> None:
    made = Skeleton.make(sender="a@b.co", alias="", date=DATE, boundary="x" * 50)
    octets = made.build("a@b.co", "<1.2@b.co>", "Hi", "the text", "<p>").as_bytes()
    assert max(map(len, octets.split(b"\r\n"))) <= MAX_LINE
    assert parts(read(octets)) == ("the text", "<p>")


def test_attachments_are_held_twice_at_the_most_while_messages_are_laid_out() -> None:
    files = [Attachment(f"{n}.bin", "", bytes(4_000_000)) for n in range(2)]
    tracemalloc.start()
    try:
        skeleton = Skeleton.make(sender="a@b.test", alias="", date=DATE, boundary="x", attachments=files)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    encoded = len(skeleton.closing.wire)
    assert encoded < held < 1.1 * encoded
    assert peak < 2.4 * encoded
