"""Keys drawn from the installation's one secret, and the seal for what is stored under them."""

import hmac
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kannon.core.errors import KannonError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIN_SECRET_BYTES: Final = 16
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class Purpose(StrEnum):
    """What a subkey is for; a part of Kannon is given only the subkeys it needs."""

    EVENTS = "events"
    ENVELOPES = "envelopes"
    RETURN_PATHS = "return-paths"
    DKIM_KEYS = "dkim-keys"
    TRACKING_KEYS = "tracking-keys"
    WEBHOOK_SECRETS = "webhook-secrets"


class SealBroken(KannonError):
    """What was sealed does not open: the wrong key, another context, or bytes that were changed."""


def subkey(secret: bytes, purpose: Purpose) -> bytes:
    """Draw the key for one purpose from the installation's secret (HKDF-SHA256, RFC 5869).

    Args:
        secret: the installation's secret, at least 16 bytes.
        purpose: what the key is for; keys of different purposes tell nothing about each other.

    Returns:
        32 bytes.

    Raises:
        ValueError: the secret is too short.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret (K_SECRET) must have at least {MIN_SECRET_BYTES} bytes")
    # The whole of HKDF for one block of output. Every process draws keys, few seal: `cryptography`, which
    # could do it, takes 7 MB and 50 ms of each of them.
    extracted = hmac.digest(bytes(KEY_BYTES), secret, "sha256")
    return hmac.digest(extracted, b"kannon/" + purpose.encode() + b"\x01", "sha256")


def seal(key: bytes, plaintext: bytes, nonce: bytes, context: str) -> bytes:
    """Encrypt and authenticate a value for storage (AES-256-GCM, RFC 5116).

    Args:
        key: 32 bytes.
        plaintext: what to hide.
        nonce: 12 bytes, never used twice with one key.
        context: where the value belongs, such as the Domain's name; it does not open anywhere else.

    Returns:
        The nonce, the ciphertext and the tag, in one.

    Raises:
        ValueError: key or nonce have the wrong length.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"the nonce must have {NONCE_BYTES} bytes")
    return nonce + _cipher(key).encrypt(nonce, plaintext, context.encode())


def open_sealed(key: bytes, sealed: bytes, context: str) -> bytes:
    """Give back what `seal` hid.

    Args:
        key: the 32 bytes it was sealed with.
        sealed: what `seal` returned.
        context: the context it was sealed in.

    Raises:
        SealBroken: it does not open with this key in this context.
        ValueError: the key has the wrong length.
    """
    from cryptography.exceptions import InvalidTag  # here, because only who seals should load it

    cipher = _cipher(key)
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken(
            f"what is sealed for {context} does not open: is K_SECRET another one now?"
        ) from error


def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # likewise

    if len(key) != KEY_BYTES:
        raise ValueError(f"the key must have {KEY_BYTES} bytes")
    return AESGCM(key)
