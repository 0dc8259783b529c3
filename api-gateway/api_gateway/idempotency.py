"""Calls that may be repeated: under one key, the same call has one answer."""

import hashlib
from typing import Final

from api_gateway.send_request import SendRequest
from kannon.adapters.pb.mailer_pb2 import Attachment, SendRes
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.batches import KeyedAnswer
from kannon.core.errors import BadInput, Conflict

MAX_KEY_CHARACTERS: Final = 255
_ADDED: Final = frozenset({"attachments", "recipients"})
"""Fields that are large, and are never held once more as a whole."""


def check_key(key: str) -> None:
    """Raises BadInput unless it can be an idempotency key."""
    if not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()):
        raise BadInput(f"idempotency-key: must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters")


class ContentHash:
    """Tells calls apart by what they ask for, however that is encoded: clients write maps in any order.

    Args:
        procedure: of the call.
        request: all of it but attachments and Recipients, which are added one after the other.
    """

    def __init__(self, procedure: str, request: SendRequest) -> None:
        fields = request.ListFields()
        shared = {field.name: value for field, value in fields if field.name not in _ADDED}
        self._hash = hashlib.sha256(procedure.encode())
        self._add(type(request)(**shared).SerializeToString(deterministic=True))

    def add(self, part: Attachment | Recipient) -> None:
        """Add the next attachment, or after all of them the next Recipient."""
        self._add(part.DESCRIPTOR.name.encode())
        if isinstance(part, Attachment):
            fields = {field.name: value for field, value in part.ListFields()}
            self._add(fields.pop("content", b""))  # large, and written once more with the others
            part = Attachment(**fields)
        self._add(part.SerializeToString(deterministic=True))

    def digest(self) -> bytes:
        """Its SHA-256."""
        return self._hash.digest()

    def _add(self, octets: bytes) -> None:
        self._hash.update(b"%d:" % len(octets))
        self._hash.update(octets)


def repeated(earlier: KeyedAnswer, content_hash: bytes) -> SendRes:
    """The answer to a call whose key was used before; raises Conflict if it was for another call."""
    if earlier.content_hash != content_hash:
        raise Conflict("idempotency-key: was used for another call within the last 24 hours")
    return SendRes.FromString(earlier.answer)
