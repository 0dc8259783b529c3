"""Any mail: it may be sent, its signature verifies, and readers find in it what was asked for."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html import escape, unescape
from typing import Any

import dkim as dkimpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.dispatch.building import DKIM_SELECTOR, BatchBuilder, Keys
from kannon.core import dkim
from kannon.core.attachments import Attachment
from kannon.core.batches import BatchContent
from kannon.core.canonical import relaxed_body
from kannon.core.envelope_seal import is_sealed
from kannon.core.mime import Message, Skeleton
from kannon.core.patterns import PLACEHOLDER, UnsafeHeader
from tests import strict_reader
from tests.mail import DOMAIN, NOW, batch_content, delivery, dkim_key, token_maker

KEYS = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
SIGNER = dkim.Signer(DOMAIN, DKIM_SELECTOR, dkim_key())
RECORD = dkim.dns_record(dkim.public_key_base64(dkim_key())).encode()


def is_filename(name: str) -> bool:
    try:
        Attachment(name, "", b"")
    except UnsafeHeader:
        return False
    return True


any_character = st.characters(codec="utf-8")
header_text = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=150),
    st.text('aB .,=?"\\<>@()_-\t;:é€😀\u00a0\u2028\x7f', max_size=150),
    st.lists(
        st.sampled_from(
            ["=?utf-8?q?x?=", "=?", "?=", "word", " ", "  ", "é", "x" * 70, ",", "=", "{{ name }}"]
        )
    ).map("".join),
)
body_text = st.one_of(
    st.text(any_character, max_size=300),
    st.lists(
        st.sampled_from(
            [
                "\r",
                "\n",
                "\r\n",
                ".",
                " ",
                "  ",
                "\t",
                "=",
                "=_",
                "From ",
                "é",
                "😀" * 20,
                "x" * 75,
                "word ",
                "--",
                "--=_kannon-7",
                "\n.\n",
                "\0",
                "\x0b",
                "\u2028",
            ]
        )
    ).map("".join),
)
with_placeholders = st.lists(
    st.one_of(body_text, st.sampled_from(["{{ name }}", "{{link}}", "{{ none }}"]))
).map("".join)
local_parts = st.sampled_from(["ann", "=?utf-8?q?x?=", "a" * 64, "jos\u00e9", "\u7528\u6237", "o'hara+news"])
filenames = st.one_of(
    st.text(any_character, min_size=1, max_size=60),
    st.text("aé€😀 .'\"%*=?;,()[]:<>@&", min_size=1, max_size=60),
    st.sampled_from(
        ["a" * 255, "é" * 127, "report.pdf", "=?utf-8?q?x?=", "C'est l'été.docx", "100%.txt", "a\tb"]
    ),
).filter(is_filename)
content_types = st.sampled_from(
    [
        "",
        "image/png",
        "text/csv; charset=utf-8",
        'text/plain; format=flowed; charset="iso-8859-1"',
        "message/rfc822",
        'text/x; a="two  spaces "; b=c',
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        f"x/{'y' * 126}; z=1",
    ]
)
attachments = st.builds(
    Attachment,
    filename=filenames,
    content_type=content_types,
    content=st.one_of(
        st.binary(max_size=400), st.sampled_from([b"", b"\r\n--=_kannon-7--\r\n" * 3, b"\0" * 57])
    ),
)
images = st.lists(
    st.tuples(attachments, st.text("aZ09._~!$&'*+=@-", min_size=1, max_size=60)),
    max_size=3,
    unique_by=lambda image: image[1],
).map(lambda found: [replace(attachment, content_id=cid) for attachment, cid in found])


def verified(octets: bytes) -> bool:
    def txt_record(name: bytes, **_options: Any) -> bytes | None:
        return RECORD if name == f"{DKIM_SELECTOR}._domainkey.{DOMAIN}.".encode() else None

    return bool(dkimpy.verify(octets, dnsfunc=txt_record))


def signed(message: Message) -> bytes:
    assert b"".join(message.canonical) == relaxed_body(message.body)
    body_hash = dkim.canonical_body_hash(*message.canonical)
    return SIGNER.sign(message.headers, body_hash, 1_767_225_600) + message.as_bytes()


def parsed(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def one_line_end(text: str) -> str:
    return re.sub("\r\n?", "\n", text)


def filled(source: str, **values: str) -> str:
    return PLACEHOLDER.sub(lambda found: values.get(found[0][2:-2].strip(), found[0]), source)


def content_of(subject: str, alias: str, html: str, text: str) -> BatchContent:
    return batch_content(sender_alias=alias, subject=subject, html=html, text=text, global_fields={})


@settings(deadline=None)
@given(header_text, header_text, with_placeholders, header_text, local_parts)
@example("Hello {{ name }}", "", "{{ name }}", "", "ann")
@example("{{ name }}", "é" * 300, "Dear {{ name }}\n{{ name }}{{ name }} .\n", " ", "ann")
@example("{{ name }} {{ none }}", "=?", "{{ name }} " * 30, "=?utf-8?q?x?=", "ann")
def test_an_envelope_is_what_was_asked_for(
    subject: str, alias: str, text: str, name: str, local: str
) -> None:
    content = content_of(subject, alias, "<p>{{ name }}</p>", text)
    recipient = f"{local}@example.org"
    row = delivery(1, recipient=recipient, fields={"name": name, "link": "https://example.com/"})
    envelope = BatchBuilder(content, KEYS, token_maker()).build(row, 1, NOW)
    assert is_sealed(KEYS.envelopes, envelope)
    assert envelope.recipient == recipient
    assert verified(envelope.body)

    message = strict_reader.read(envelope.body, eight_bit=not local.isascii())
    values = {"name": name, "link": "https://example.com/"}
    assert strict_reader.unstructured(message.headers["subject"]) == filled(subject, **values)
    assert strict_reader.display_name(message.headers["from"]) == (alias, f"hello@{DOMAIN}")
    assert message.headers["to"].decode() == recipient
    plain, html = message.parts
    assert (plain.kind, html.kind) == ("text/plain", "text/html")
    assert plain.text() == one_line_end(filled(text, **values))

    known = parsed(envelope.body)
    assert known["subject"] == filled(subject, **values)
    assert one_line_end(known.get_body(("plain",)).get_content()) == plain.text()  # type: ignore[union-attr]
    assert not [defect for part in known.walk() for defect in part.defects]


@settings(deadline=None)
@given(st.text(any_character, max_size=200))
@example("'" * 100)
@example("-->")
def test_html_shows_the_values_where_they_were_asked_for(name: str) -> None:
    between = ",</p>\n\n  <hr>" + "<br>" * 40
    source = f"<p title='{{{{ name }}}}'>{{{{ name }}}}{between}{{{{ name }}}}"
    envelope = BatchBuilder(content_of("Hi", "", source, "Hi"), KEYS, token_maker()).build(
        delivery(1, fields={"name": name}), 1, NOW
    )
    assert verified(envelope.body)
    _, html = strict_reader.read(envelope.body).parts
    title, rest = html.text().removeprefix("<p title='").split("'>", 1)
    shown = [unescape(part) for part in (title, *rest.split(between))]
    assert shown == [unescape(escape(one_line_end(name)))] * 3


@settings(deadline=None)
@given(
    body_text,
    body_text,
    images,
    st.lists(attachments, max_size=3),
    st.text("aZ09._-", min_size=1, max_size=50),
)
def test_files_arrive_as_they_are(
    text: str, html: str, shown: list[Attachment], kept: list[Attachment], boundary: str
) -> None:
    skeleton = Skeleton.make(
        sender=f"hello@{DOMAIN}",
        alias="",
        date=datetime(2026, 3, 1, tzinfo=UTC),
        boundary=boundary,
        attachments=[*kept[:1], *shown, *kept[1:]],
    )
    octets = signed(skeleton.build("ann@example.org", "<7.1@example.com>", "Hi", text, html))
    assert verified(octets)

    message = strict_reader.read(octets)
    parts = [part for part in message.walk() if not part.parts]
    assert [part.kind for part in parts[:2]] == ["text/plain", "text/html"]
    assert [part.text() for part in parts[:2]] == [one_line_end(text), one_line_end(html)]
    for part, attachment in zip(parts[2:], [*shown, *kept], strict=True):
        disposition, parameters = strict_reader.parameters(part.headers["content-disposition"])
        assert part.content == attachment.content
        assert parameters == {"filename": attachment.filename}
        assert disposition == ("inline" if attachment.content_id else "attachment")
        assert part.headers.get("content-id", b"<>") == f"<{attachment.content_id}>".encode()
        assert part.kind in (attachment.content_type.partition(";")[0], "application/octet-stream")
    assert structure(message) == expected_structure(len(shown), len(kept))

    known = [part for part in parsed(octets).walk() if not part.is_multipart()][2:]
    assert [part.get_payload(decode=True) for part in known] == [one.content for one in (*shown, *kept)]
    old = [part for part in message_from_bytes(octets).walk() if not part.is_multipart()][2:]
    names = [one.filename.strip() for one in (*shown, *kept)]  # this reader strips what it has read
    assert [part.get_filename() for part in old] == names
    assert not [defect for part in parsed(octets).walk() for defect in part.defects]


def structure(part: strict_reader.Part) -> list[Any]:
    return [part.kind, *(structure(one) if one.parts else "part" for one in part.parts)]


def expected_structure(shown: int, kept: int) -> list[Any]:
    related: Any = ["multipart/related", *["part"] * (1 + shown)] if shown else "part"
    alternative = ["multipart/alternative", "part", related]
    return ["multipart/mixed", alternative, *["part"] * kept] if kept else alternative
