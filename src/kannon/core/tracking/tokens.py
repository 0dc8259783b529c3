"""Tracking tokens: what a pixel's or a link's address says, signed so that nobody else can say it.

They are JSON Web Tokens (RFC 7519) signed with Ed25519 (`EdDSA`, RFC 8037); nothing else is taken for one.
"""

import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring
from typing import Any, Final

from kannon.core.errors import BadInput
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.policy import Mode

MAX_TOKEN_CHARS: Final = 8_000
"""With the rest of its request line it stays within the 8 KB that servers and proxies commonly take."""
MAX_URL_OCTETS: Final = 4_096
"""Of a destination in UTF-8; a longer one has no token."""
SEED_BYTES: Final = 32
"""Of a private key (RFC 8032 §5.1.5)."""

_KID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SIGNATURE_BYTES: Final = 64
# Controls would split a header, and lone surrogates have no octets; whatever else an author wrote is kept.
_DESTINATION: Final = re.compile(r"https?://(?![\s/?#\\])[^\x00-\x1f\x7f\ud800-\udfff]+", re.IGNORECASE)
_AUDIENCE: Final = {str(audience): audience for audience in Audience}


class BadToken(BadInput):
    """The token is none of ours: forged, changed, expired, or for another use or host."""


class UnknownKey(BadToken):
    """The token names a key that the reader does not have: a new one, or none there ever was."""


def is_destination(url: str) -> bool:
    """Whether a link to it can be a tracked one: http or https, with a host, and not too long."""
    return _DESTINATION.fullmatch(url) is not None and len(url.encode()) <= MAX_URL_OCTETS


def tracking_host(domain: str) -> str:
    """The host that a Domain's pixels and links are at."""
    return f"stats.{domain}"


class SigningKey:
    """Makes tokens. Ed25519 signs the same claims with the same octets each time, in any process.

    Args:
        kid: the key's id, as the tokens name it; up to 32 letters, digits, `-` and `_`.
        seed: the private key's 32 octets.

    Raises:
        ValueError: `kid` or `seed` is not formed so.
    """

    def __init__(self, kid: str, seed: bytes) -> None:
        # libsodium takes 20 µs for what takes OpenSSL 32; loaded here, for its 0.8 MB.
        from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} octets")
        self.kid = kid
        self._head = _header(kid) + b"."
        self._sign = crypto_sign
        self.public, self._private = crypto_sign_seed_keypair(seed)

    def mint(self, claims: Claims) -> str:
        """The token that says `claims`.

        Raises:
            ValueError: a click's destination is none (see `is_destination`).
        """
        if claims.audience is Audience.CLICK and not is_destination(claims.url):
            raise ValueError("a tracked link must lead to http or https, and not be too long")
        signed = self._head + _encoded(_payload(claims))
        signature = self._sign(signed, self._private)[:_SIGNATURE_BYTES]  # what is signed stands behind it
        return (signed + b"." + _encoded(signature)).decode()


class TokenReader:
    """Reads tokens.

    Args:
        keys: public keys, 32 octets each, by their ids.

    Raises:
        ValueError: an id or a key is not formed so.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        from cryptography.exceptions import InvalidSignature  # here: it takes 7 MB
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self._invalid = InvalidSignature
        # A header is compared whole and never interpreted: so `alg` can say nothing but EdDSA.
        self._keys: dict[bytes, Ed25519PublicKey] = {
            _header(kid): Ed25519PublicKey.from_public_bytes(key) for kid, key in keys.items()
        }

    def read(self, token: str, audience: Audience, host: str, now: datetime) -> Claims:
        """What a token says.

        Args:
            audience: what it is presented for.
            host: what the request was made to, without a port; `stats.` and the token's Domain.
            now: the present moment, aware.

        Raises:
            UnknownKey: the reader does not have the key it names.
            BadToken: whatever else is wrong with it, and nothing else.
        """
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise BadToken("not a token")
        signed, _, signature = token.encode().rpartition(b".")
        header, _, payload = signed.partition(b".")
        self._verify(header, signed, signature)
        claims = _claims(_decoded(payload))
        if claims.audience is not audience:
            raise BadToken("for another use")
        if tracking_host(claims.domain) != host.lower():
            raise BadToken("for another host")
        if now.timestamp() >= claims.expires_at:
            raise BadToken("expired")
        return claims

    def _verify(self, header: bytes, signed: bytes, signature: bytes) -> None:
        key = self._keys.get(header)
        if key is None:
            raise UnknownKey("of an unknown key") if _is_header(header) else BadToken("not a token")
        octets = _decoded(signature)
        try:
            key.verify(octets, signed)
        except self._invalid as error:
            raise BadToken("forged") from error


def _header(kid: str) -> bytes:
    if not _KID.fullmatch(kid):
        raise ValueError("a key's id has up to 32 letters, digits, - and _")
    return _encoded(f'{{"alg":"EdDSA","kid":"{kid}"}}'.encode())


def _is_header(encoded: bytes) -> bool:
    """Whether it is what `_header` makes of some id."""
    try:
        return _header(str(json.loads(_decoded(encoded))["kid"])) == encoded
    except (BadToken, ValueError, KeyError, TypeError, RecursionError):
        return False


def _payload(claims: Claims) -> bytes:
    """The claims as JSON, as short as it gets: it is in every link of every mail."""
    about = "" if claims.seq is None else f',"s":{claims.seq:d}'
    if claims.pseudonym:
        about += f',"p":{encode_basestring(claims.pseudonym)}'
    if claims.url:
        about += f',"u":{encode_basestring(claims.url)}'
    return (
        f'{{"aud":"{claims.audience}","iss":{encode_basestring(claims.domain)},"exp":{claims.expires_at:d},'
        f'"m":{claims.mode:d},"b":{claims.batch:d}{about}}}'
    ).encode()


def _claims(payload: bytes) -> Claims:
    """What was signed, and so is ours; but it is checked, lest a mistake of ours became an open redirect."""
    try:
        says: dict[str, Any] = json.loads(payload)
        claims = Claims(
            audience=_AUDIENCE[says["aud"]],
            domain=says["iss"],
            mode=Mode(says["m"]),
            batch=says["b"],
            expires_at=says["exp"],
            seq=says.get("s"),
            pseudonym=says.get("p", ""),
            url=says.get("u", ""),
        )
        if _payload(claims) != payload:
            raise BadToken("not what we sign")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadToken("not what we sign") from error
    if claims.audience is Audience.CLICK and not is_destination(claims.url):
        raise BadToken("leads nowhere")
    return claims


def _encoded(octets: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2)."""
    return binascii.b2a_base64(octets, newline=False).rstrip(b"=").translate(_TO_URL)


def _decoded(encoded: bytes) -> bytes:
    """The octets of base64url, of which there is one way to write them: no padding, no spare bits set.

    Raises:
        BadToken: it is not that.
    """
    try:
        octets = binascii.a2b_base64(encoded.translate(_FROM_URL) + b"=" * (-len(encoded) % 4))
    except binascii.Error as error:
        raise BadToken("not a token") from error
    if _encoded(octets) != encoded:
        raise BadToken("not a token")
    return octets


_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
