"""The seal dispatch puts on an Envelope: the edge transmits nothing that does not carry it."""

import hmac
from dataclasses import replace
from typing import Final

from kannon.core.envelopes import Envelope

_LABEL: Final = b"kannon/envelope/1"


def sealed(key: bytes, envelope: Envelope) -> Envelope:
    """The Envelope with its seal: HMAC-SHA256 (RFC 2104) over every part with its length before it.

    Of a rest it is size and digest, so that it is hashed once however many have it. Only what tells one
    publishing from another is left out: `emission` and `first_emitted_at_ms`.

    Args:
        key: the subkey for Envelopes.
    """
    return replace(envelope, hmac=_seal(key, envelope))


def is_sealed(key: bytes, envelope: Envelope) -> bool:
    """Whether the Envelope carries the seal made with `key`; compared in constant time.

    A rest at hand must be what its digest says: `Rest.holding` sees to that.
    """
    return hmac.compare_digest(_seal(key, envelope), envelope.hmac)


def _seal(key: bytes, envelope: Envelope) -> bytes:
    delivery = envelope.delivery
    numbers = (delivery.batch, delivery.seq, envelope.attempt, envelope.expires_at_ms)
    addresses = (envelope.sender, envelope.recipient, envelope.return_path)
    parts: tuple[bytes, ...] = (
        _LABEL,
        *(str(number).encode() for number in numbers),
        *(address.encode("utf-8", "surrogatepass") for address in addresses),
        envelope.body,
    )
    if envelope.rest is not None:
        parts += (str(envelope.rest.size).encode(), envelope.rest.digest)
    with_lengths = [octets for part in parts for octets in (len(part).to_bytes(8, "big"), part)]
    return hmac.digest(key, b"".join(with_lengths), "sha256")
