"""The built, signed message of one Attempt."""

from dataclasses import dataclass

from kannon.core.deliveries import DeliveryId

MAX_CHUNK_ITEMS = 100
MAX_CHUNK_BYTES = 900_000
"""What an event carries at the most; NATS refuses 1 MiB, and headers and signatures want their part."""
MAX_MESSAGE_BYTES = 700_000
"""What a built message has at the most: it must fit into an event, whatever else goes with it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Immutable once built: whatever is emitted again is the same Attempt.

    Attributes:
        emission: which publishing of this Attempt this is, from 1.
        first_emitted_at_ms: when this Attempt was first published, Unix milliseconds.
        expires_at_ms: no final dot is sent after this, Unix milliseconds.
        hmac: dispatch's seal over all but `emission` and `first_emitted_at_ms`.
    """

    delivery: DeliveryId
    attempt: int
    emission: int
    sender: str
    recipient: str
    return_path: str
    body: bytes
    first_emitted_at_ms: int
    expires_at_ms: int
    hmac: bytes

    @property
    def size(self) -> int:
        """Octets that it takes in a chunk, about."""
        return len(self.body) + 400
