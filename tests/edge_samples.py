"""Envelopes and results for tests of the edge."""

from kannon.core.deliveries import DeliveryId
from kannon.core.envelope_seal import sealed
from kannon.core.envelopes import Envelope

SEAL_KEY = b"k" * 32
FAR_MS = 4_000_000_000_000
BODY = b"From: a@sender.test\r\nTo: b@example.test\r\nSubject: hello\r\n\r\nA line.\r\n"


def an_envelope(
    seq: int = 1,
    *,
    batch: int = 7,
    attempt: int = 1,
    emission: int = 1,
    recipient: str = "bob@example.test",
    return_path: str = "bounce+token@sender.test",
    body: bytes = BODY,
    first_emitted_at_ms: int = FAR_MS - 1000,
    expires_at_ms: int = FAR_MS,
    key: bytes = SEAL_KEY,
) -> Envelope:
    """A sealed Envelope."""
    unsealed = Envelope(
        DeliveryId(batch, seq),
        attempt,
        emission,
        "a@sender.test",
        recipient,
        return_path,
        body,
        first_emitted_at_ms,
        expires_at_ms,
        b"",
    )
    return sealed(key, unsealed)
