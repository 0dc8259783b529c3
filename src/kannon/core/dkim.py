"""DKIM signatures (RFC 6376): rsa-sha256, relaxed canonicalisation of header and body."""

import base64
import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

SIGNED_HEADERS: Final = (
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "list-unsubscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-unsubscribe-post",
)
"""Signed whether present or not, so that none can be added on the way (RFC 6376 §5.4.2, RFC 8058 §4)."""

MIN_KEY_BITS: Final = 1024  # RFC 8301 §3.2

_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()
_SIGNATURE_LINE: Final = 72


class Signer:
    """Signs the messages of one Domain.

    Args:
        domain: the signing domain, in A-labels.
        selector: names the key beneath `_domainkey.<domain>` (RFC 6376 §3.1).
        private_key: an RSA key of 1024 bits or more, DER or PEM, not encrypted.

    Raises:
        ValueError: the key is no such key, or domain or selector are not ASCII.
    """

    def __init__(self, domain: str, selector: str, private_key: bytes) -> None:
        if not (domain.isascii() and selector.isascii()):
            raise ValueError("domain and selector must be in A-labels")
        self._key = _load(private_key)
        opening = f"v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td={domain.lower()}; s={selector};"
        self._before_time = f"{opening}\r\n\th={_folded_names()};\r\n\tt=".encode()

    def sign(self, headers: Iterable[tuple[str, bytes]], body_hash: bytes, now: int) -> bytes:
        """Sign a message.

        Args:
            headers: its headers, from the top; values may be folded.
            body_hash: what `body_hash` gives for its body, 32 bytes.
            now: the moment of signing, in Unix seconds.

        Returns:
            The whole `DKIM-Signature` header, folded and ended by CRLF, to stand before the others.

        Raises:
            ValueError: the hash has another length (the body given by mistake, say).
        """
        if len(body_hash) != _HASH.digest_size:
            raise ValueError("a body hash has 32 bytes")
        value = b"%b%d; bh=%b;\r\n\tb=" % (self._before_time, now, base64.b64encode(body_hash))
        signed = b"%bdkim-signature:%b" % (_selected(headers), _relaxed(value))
        signature = base64.b64encode(self._key.sign(signed, _PADDING, _HASH))
        lines = [signature[at : at + _SIGNATURE_LINE] for at in range(0, len(signature), _SIGNATURE_LINE)]
        return b"DKIM-Signature: %b%b\r\n" % (value, b"\r\n\t ".join(lines))


def body_hash(body: bytes) -> bytes:
    """Hash a body, relaxed (RFC 6376 §3.4.4, SHA-256).

    Args:
        body: its lines ended by CRLF; an end missing from the last line counts as there.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(relaxed_body(body)).digest()


def relaxed_body(body: bytes) -> bytes:
    """Canonicalise a body: spaces folded, none at ends of lines, no empty lines last (RFC 6376 §3.4.4)."""
    folded = _spaces_folded(body if body.endswith(b"\r\n") else body + b"\r\n").replace(b" \r\n", b"\r\n")
    end = len(folded)
    while folded.endswith(b"\r\n", 0, end):
        end -= 2
    return folded[:end] + b"\r\n" if end else b""


def generate_private_key(bits: int = 2048) -> bytes:
    """Make an RSA key: PKCS #8 DER, not encrypted; of 2048 bits or more (RFC 8301 §3.2)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_key_base64(private_key: bytes) -> str:
    """The public half of a key, DER or PEM: base64 of its DER SubjectPublicKeyInfo (RFC 6376 §3.6.1).

    Raises:
        ValueError: it is no RSA key of 1024 bits or more.
    """
    der = _load(private_key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def dns_record(public_key: str) -> str:
    """The TXT record of a public key, for `<selector>._domainkey.<domain>` (RFC 6376 §3.6.1)."""
    return f"k=rsa; p={public_key}"


def _load(private_key: bytes) -> rsa.RSAPrivateKey:
    load = load_pem_private_key if private_key.lstrip().startswith(b"-----BEGIN") else load_der_private_key
    try:
        # The key was made here and kept sealed: to test its primes again would take 40 ms, for each Batch.
        key = load(private_key, password=None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError) as error:
        raise ValueError("no private key in DER or PEM without a password") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_KEY_BITS:
        raise ValueError(f"DKIM needs an RSA key of {MIN_KEY_BITS} bits or more")
    return key


def _folded_names() -> str:
    lines = [":".join(SIGNED_HEADERS[at : at + 3]) for at in range(0, len(SIGNED_HEADERS), 3)]
    return ":\r\n\t ".join(lines)


def _selected(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The signed headers, canonical; of several with one name the lowest counts first (RFC 6376 §5.4.2)."""
    by_name: dict[str, list[bytes]] = {}
    for name, value in headers:
        by_name.setdefault(name.lower(), []).append(value)
    lines = []
    for name in SIGNED_HEADERS:
        if values := by_name.get(name):
            lines.append(b"%b:%b\r\n" % (name.encode(), _relaxed(values.pop())))
    return b"".join(lines)


def _relaxed(value: bytes) -> bytes:
    """Canonicalise a header's value (RFC 6376 §3.4.2)."""
    return _spaces_folded(value.replace(b"\r\n", b"")).strip(b" ")


def _spaces_folded(text: bytes) -> bytes:
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # halves every run: faster than a regular expression
        text = text.replace(b"  ", b" ")
    return text
