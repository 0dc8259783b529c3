"""The seal dispatch puts on an Envelope: the edge transmits nothing that does not carry it."""

import hashlib
import hmac
from typing import Final

_LABEL: Final = b"kannon/envelope/1"


def envelope_hmac(
    key: bytes,
    *,
    batch: int,
    seq: int,
    attempt: int,
    sender: str,
    recipient: str,
    return_path: str,
    body: bytes,
    expires_at_ms: int,
) -> bytes:
    """Seal an Envelope (HMAC-SHA256, RFC 2104, over every part with its length before it).

    Args:
        key: the subkey for envelopes.
        batch: the Batch's number.
        seq: the Delivery's number in its Batch.
        attempt: the number of the try, from 1.
        sender: the address the mail is from.
        recipient: the address it goes to.
        return_path: the address reports come back to.
        body: the whole message, header and body, as it goes on the wire.
        expires_at_ms: the moment after which it may no longer be transmitted, in Unix milliseconds.

    Returns:
        32 bytes.
    """
    numbers = (str(number).encode() for number in (batch, seq, attempt, expires_at_ms))
    addresses = (address.encode("utf-8", "surrogatepass") for address in (sender, recipient, return_path))
    seal = hmac.new(key, digestmod=hashlib.sha256)
    for part in (_LABEL, *numbers, *addresses, body):
        seal.update(len(part).to_bytes(8, "big"))
        seal.update(part)
    return seal.digest()


def verify_envelope_hmac(
    key: bytes,
    mac: bytes,
    *,
    batch: int,
    seq: int,
    attempt: int,
    sender: str,
    recipient: str,
    return_path: str,
    body: bytes,
    expires_at_ms: int,
) -> bool:
    """Tell whether `mac` is the seal of exactly this Envelope, in constant time.

    Args:
        key: the subkey for envelopes.
        mac: the seal that came with the Envelope.
        batch: as for `envelope_hmac`, and so are all that follow.
    """
    expected = envelope_hmac(
        key,
        batch=batch,
        seq=seq,
        attempt=attempt,
        sender=sender,
        recipient=recipient,
        return_path=return_path,
        body=body,
        expires_at_ms=expires_at_ms,
    )
    return hmac.compare_digest(expected, mac)
