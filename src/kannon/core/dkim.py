"""DKIM signatures (RFC 6376): rsa-sha256, relaxed canonicalisation of header and body."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
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

from kannon.core.canonical import relaxed_body, relaxed_header

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

_SIGNED: Final = frozenset(SIGNED_HEADERS)

MIN_KEY_BITS: Final = 1024  # RFC 8301 §3.2

_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()
_SIGNATURE_LINE: Final = 72


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A `DKIM-Signature` header but for the signature.

    Attributes:
        signed: what is to be signed.
        value: what stands in the header before the signature.
    """

    signed: bytes
    value: bytes


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
        self._relaxed_before_time = b"dkim-signature:" + relaxed_header(self._before_time)
        self._known: dict[str, tuple[bytes, bytes]] = {}

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
        return self.signature(self.unsigned(headers, body_hash, now))

    def unsigned(self, headers: Iterable[tuple[str, bytes]], body_hash: bytes, now: int) -> Unsigned:
        """What of `sign` takes the interpreter's lock; arguments and errors are the same."""
        if len(body_hash) != _HASH.digest_size:
            raise ValueError("a body hash has 32 bytes")
        bh = binascii.b2a_base64(body_hash, newline=False)
        signed = b"%b%b%d; bh=%b; b=" % (self._selected(headers), self._relaxed_before_time, now, bh)
        return Unsigned(signed, b"%b%d; bh=%b;\r\n\tb=" % (self._before_time, now, bh))

    def signature(self, unsigned: Unsigned) -> bytes:
        """The rest of `sign`: nearly all of its time, and hardly any with the interpreter's lock held."""
        signature = binascii.b2a_base64(self._key.sign(unsigned.signed, _PADDING, _HASH), newline=False)
        lines = [signature[at : at + _SIGNATURE_LINE] for at in range(0, len(signature), _SIGNATURE_LINE)]
        return b"DKIM-Signature: %b%b\r\n" % (unsigned.value, b"\r\n\t ".join(lines))

    def _selected(self, headers: Iterable[tuple[str, bytes]]) -> bytes:
        """The signed headers, canonical; of several with one name the lowest first (RFC 6376 §5.4.2)."""
        lines: dict[str, list[bytes]] = {}
        for name, value in headers:
            if (lower := name.lower()) in _SIGNED:
                lines.setdefault(lower, []).append(self._canonical(lower, value))
        return b"".join(lines[name].pop() for name in SIGNED_HEADERS if lines.get(name))

    def _canonical(self, name: str, value: bytes) -> bytes:
        """A header, canonical; most of them are those of the message before."""
        known, line = self._known.get(name, (None, b""))
        if known != value:
            line = b"%b:%b\r\n" % (name.encode(), relaxed_header(value))
            self._known[name] = value, line  # both at once: threads may share a Signer
        return line


def body_hash(body: bytes) -> bytes:
    """Hash a body, relaxed (RFC 6376 §3.4.4, SHA-256).

    Args:
        body: its lines ended by CRLF; an end missing from the last line counts as there.

    Returns:
        32 bytes.
    """
    return canonical_body_hash(relaxed_body(body))


def canonical_body_hash(*canonical: bytes) -> bytes:
    """Hash a body that is canonical already, as the pieces of `Message.canonical` are; the same 32 bytes."""
    digest = hashlib.sha256()
    for piece in canonical:
        digest.update(piece)
    return digest.digest()


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
