"""Signatures, as an independent verifier sees them."""

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.canonical import relaxed_body
from kannon.core.dkim import (
    SIGNED_HEADERS,
    Signer,
    body_hash,
    dns_record,
    generate_private_key,
    public_key_base64,
)
from kannon.core.mime import Skeleton

NOW = 1_767_225_600
PRIVATE_KEY = generate_private_key()
SIGNER = Signer("example.com", "kannon", PRIVATE_KEY)
RECORD = dns_record(public_key_base64(PRIVATE_KEY)).encode()

Headers = list[tuple[str, bytes]]
HEADERS: Headers = [
    ("From", b'"Kannon" <news@example.com>'),
    ("To", b"ann@example.org"),
    ("Subject", b"Hi"),
    ("Date", b"Sun, 01 Mar 2026 12:30:00 +0100"),
    ("Message-ID", b"<42.7@example.com>"),
]


def txt_record(name: bytes, **_options: Any) -> bytes | None:
    return RECORD if name == b"kannon._domainkey.example.com." else None


def signed(headers: Iterable[tuple[str, bytes]], body: bytes, *, added: bytes = b"") -> bytes:
    headers = list(headers)
    lines = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in headers)
    return SIGNER.sign(headers, body_hash(body), NOW) + added + lines + b"\r\n" + body


def verified(message: bytes) -> bool:
    return bool(dkim.verify(message, dnsfunc=txt_record))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n\r\n",
        b"Hi\r\n",
        b"Hi",
        b"Hi\r\n\r\n\r\n",
        b"  two \t spaces  \r\n \r\n\t\r\nand \t more\t\r\n",
        b" \r\n",
        b"\t \r\n \r\n\r\n",
        b".\r\n..\r\n",
        b"a\r\n\r\n\r\nb\r\n \r\n",
        "größer € 😀\r\n".encode(),
        b"x" * 5_000 + b"\r\n",
        b" " * 1_000 + b"x\r\n",
    ],
)
def test_any_body_verifies(body: bytes) -> None:
    assert verified(signed(HEADERS, body))


@pytest.mark.parametrize(
    "headers",
    [
        [("Subject", "größer €".encode())],
        [("Subject", b"=?utf-8?B?Z3LDtsOfZXI=?=\r\n =?utf-8?B?IOKCrA==?=")],
        [("Subject", b"folded\r\n \t here  and\tthere \r\n\t too ")],
        [("Subject", b"")],
        [("Subject", b"  ")],
        [("Cc", b"b@c.co,\r\n c@d.co"), ("Reply-To", b"r@e.co")],
        [("List-Unsubscribe", b"<https://e.co/u>"), ("List-Unsubscribe-Post", b"List-Unsubscribe=One-Click")],
        [("List-Unsubscribe", b"<https://e.co/1>"), ("List-Unsubscribe", b"<https://e.co/2>")],
        [("X-Not-Signed", b"x"), ("Received", b"from a by b")],
        [("SUBJECT", b"shouted")],
    ],
)
def test_headers_of_any_form_verify(headers: Headers) -> None:
    names = {name.lower() for name, _ in headers}
    rest = [header for header in HEADERS if header[0].lower() not in names]
    assert verified(signed(rest + headers, b"Hi\r\n"))


printable = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])


@settings(deadline=None)
@given(st.text(printable), st.text(printable), st.text(st.one_of(st.just("\n"), st.just(" "), printable)))
def test_whatever_is_built_verifies(alias: str, subject: str, text: str) -> None:
    date = datetime(2026, 3, 1, tzinfo=UTC)
    skeleton = Skeleton.make(sender="news@example.com", alias=alias, date=date, boundary="kannon-42")
    message = skeleton.build("josé@example.org", "<42.7@example.com>", subject, text, f"<p>{text}</p>")
    signature = SIGNER.sign(message.headers, body_hash(message.body), NOW)
    assert verified(signature + message.as_bytes())


@pytest.mark.parametrize("name", sorted(set(SIGNED_HEADERS)))
def test_a_signed_header_can_be_neither_changed_nor_added_later(name: str) -> None:
    others = [header for header in HEADERS if header[0].lower() != name]
    message = signed([*others, (name, b"one")], b"Hi\r\n")
    assert verified(message)
    assert not verified(message.replace(b"\r\n%b: one" % name.encode(), b"\r\n%b: two" % name.encode()))
    assert not verified(
        signed(others, b"Hi\r\n").replace(b"\r\n\r\n", b"\r\n%b: new\r\n\r\n" % name.encode(), 1)
    )


@pytest.mark.parametrize("name", ["List-Unsubscribe", "List-Unsubscribe-Post"])
def test_a_second_way_to_unsubscribe_cannot_be_added(name: str) -> None:
    message = signed([*HEADERS, (name, b"<https://e.co/u>")], b"Hi\r\n")
    evil = b"%b: <https://evil.co>\r\n" % name.encode()
    assert verified(message)
    assert not verified(message.replace(b"From:", evil + b"From:", 1))
    assert not verified(message.replace(b"\r\n\r\n", b"\r\n%b\r\n" % evil, 1))


def test_a_changed_body_does_not_verify() -> None:
    message = signed(HEADERS, b"Pay 10\r\n")
    with pytest.raises(dkim.ValidationError, match="body hash"):
        dkim.DKIM(message.replace(b"Pay 10", b"Pay 99")).verify(dnsfunc=txt_record)


def test_the_signature_names_what_it_covers_and_is_folded() -> None:
    signature = SIGNER.sign(HEADERS, body_hash(b""), NOW)
    assert signature.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;")
    assert signature.endswith(b"\r\n")
    assert max(map(len, signature.split(b"\r\n"))) <= 78
    assert re.findall(rb"\r\n(?![ \t]|\Z)", signature) == []
    unfolded = re.sub(rb"\s+", b"", signature).decode()
    tags = dict(tag.split("=", 1) for tag in unfolded.removeprefix("DKIM-Signature:").split(";"))
    assert tags["h"] == (
        "from:to:cc:subject:date:message-id:reply-to:mime-version:content-type:"
        "list-unsubscribe:list-unsubscribe:list-unsubscribe-post:list-unsubscribe-post"
    )
    assert (tags["d"], tags["s"], tags["t"]) == ("example.com", "kannon", str(NOW))
    assert tags["bh"] == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # of nothing: RFC 6376 §3.4.4


def test_the_same_message_signed_at_the_same_time_is_the_same() -> None:
    assert SIGNER.sign(HEADERS, body_hash(b"Hi"), NOW) == SIGNER.sign(HEADERS, body_hash(b"Hi"), NOW)


def test_relaxed_bodies_are_those_of_the_rfc() -> None:
    assert relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"  # RFC 6376 §3.4.5
    assert relaxed_body(b"no end  ") == b"no end\r\n"
    assert body_hash(b"a") == hashlib.sha256(b"a\r\n").digest()


def test_a_body_given_for_its_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SIGNER.sign(HEADERS, b"Hi\r\n", NOW)


def test_keys_are_taken_in_der_and_in_pem() -> None:
    key = load_der_private_key(PRIVATE_KEY, None)
    signature = SIGNER.sign(HEADERS, body_hash(b""), NOW)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        for encoding in (Encoding.DER, Encoding.PEM):
            same = Signer("EXAMPLE.com", "kannon", key.private_bytes(encoding, form, NoEncryption()))
            assert same.sign(HEADERS, body_hash(b""), NOW) == signature


def test_the_public_key_is_the_one_of_the_dns_record() -> None:
    assert base64.b64decode(public_key_base64(PRIVATE_KEY))[:2] == b"\x30\x82"
    assert dns_record("MIIB") == "k=rsa; p=MIIB"


def test_what_cannot_sign_mail_is_refused() -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    keys = [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        elliptic.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    ]
    for key in keys:
        with pytest.raises(ValueError, match="key"):
            Signer("example.com", "kannon", key)
        with pytest.raises(ValueError, match="key"):
            public_key_base64(key)
    with pytest.raises(ValueError, match="A-labels"):
        Signer("exämple.com", "kannon", PRIVATE_KEY)


def test_a_key_has_the_size_that_is_asked_for() -> None:
    key = load_der_private_key(generate_private_key(1024), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 1024
