"""The built, signed message of one Attempt."""

import hashlib
from dataclasses import dataclass, field, replace

from kannon.core.deliveries import DeliveryId
from kannon.core.errors import NoSuchObject

MAX_CHUNK_ITEMS = 100
MAX_CHUNK_BYTES = 700_000
"""What an item of an event takes at the most; NATS refuses 1 MiB, and headers want their part."""
MAX_ENVELOPES_BYTES = 900_000
"""What the Envelopes of an event take together: so a hundred newsletters with tracked links are one event."""
MAX_MESSAGE_BYTES = 50 * 1024**2
"""The largest message that a setting may allow: an edge is handed it in one call."""
MAX_CHUNK_MESSAGES = 32 * 1024**2
"""What the messages of a chunk have together at the most, with what is apart, unless it is a single one."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The end of a message too large for an event, or all of it: it is in the attachment store.

    Attributes:
        name: in the store; empty between send and the edge.
        size: its octets.
        digest: their SHA-256, 32 bytes.
        octets: themselves, where they are at hand.
    """

    name: str
    size: int
    digest: bytes
    octets: bytes = field(default=b"", repr=False, compare=False)

    def holding(self, octets: bytes) -> "Rest":
        """The same with its octets at hand.

        Raises:
            NoSuchObject: they are others.
        """
        if len(octets) != self.size or hashlib.sha256(octets).digest() != self.digest:
            raise NoSuchObject(self.name)
        return replace(self, octets=octets)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Immutable once built: whatever is emitted again is the same Attempt.

    Attributes:
        emission: which publishing of this Attempt this is, from 1.
        first_emitted_at_ms: when this Attempt was first published, Unix milliseconds.
        expires_at_ms: no final dot is sent after this, Unix milliseconds.
        hmac: dispatch's seal over all but `emission` and `first_emitted_at_ms`.
        body: the message; what stands before the `rest` where there is one.
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
    rest: Rest | None = None

    @property
    def size(self) -> int:
        """Octets that it takes in a chunk, about."""
        return len(self.body) + 400

    @property
    def message_size(self) -> int:
        """Octets of the whole message."""
        return len(self.body) + (self.rest.size if self.rest else 0)

    def whole(self) -> "Envelope":
        """The Envelope with all of its message in `body`; the rest must be at hand. The seal fits no more."""
        if self.rest is None:
            return self
        return replace(self, body=self.body + self.rest.octets, rest=None)
