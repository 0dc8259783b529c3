"""Envelopes as protobuf: the data of `envelopes.ready`, and what the edge is called with."""

from collections.abc import Sequence
from typing import Any, Final, cast

from google.protobuf.message import DecodeError, Message

from kannon.adapters.pb import edge_pb2, types_pb2
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import AnyPayload, EnvelopesReady
from kannon.events import P


def chunk_octets(edge: str, envelopes: Sequence[Envelope]) -> bytes:
    """An `EnvelopeChunk`, serialised."""
    return edge_pb2.EnvelopeChunk(edge=edge).SerializeToString() + _repeated(_IN_CHUNK, envelopes)


def submit_octets(envelopes: Sequence[Envelope]) -> bytes:
    """A `SubmitRequest`, serialised."""
    return _repeated(_IN_REQUEST, envelopes)


def _tag(message: type[Message], field: str) -> bytes:
    # Protocol Buffers encoding: field number and wire type 2, for what has a length.
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


_IN_CHUNK: Final = _tag(edge_pb2.EnvelopeChunk, "envelopes")
_IN_REQUEST: Final = _tag(edge_pb2.SubmitRequest, "envelopes")
_EMAIL: Final = _tag(edge_pb2.Envelope, "email")
_BODY: Final = _tag(types_pb2.EmailToSend, "body")


def _repeated(tag: bytes, envelopes: Sequence[Envelope]) -> bytes:
    """The Envelopes as a repeated field.

    The library would copy each body three times. So it writes all but the bodies, and each body follows as
    the same field `email` once more, which a reader merges into the first.
    """
    pieces: list[bytes] = []
    for envelope in envelopes:
        body = envelope.body
        body_head = _BODY + _varint(len(body))
        email_head = _EMAIL + _varint(len(body_head) + len(body))
        rest = _without_body(envelope).SerializeToString()
        length = len(rest) + len(email_head) + len(body_head) + len(body)
        pieces += (tag, _varint(length), rest, email_head, body_head, body)
    return b"".join(pieces)


def _without_body(envelope: Envelope) -> edge_pb2.Envelope:
    return edge_pb2.Envelope(
        email=types_pb2.EmailToSend(
            email_id=str(envelope.delivery),
            to=envelope.recipient,
            return_path=envelope.return_path,
            should_retry=True,
            **cast("Any", {"from": envelope.sender}),  # `from` is no name in Python
        ),
        batch=envelope.delivery.batch,
        seq=envelope.delivery.seq,
        attempt=envelope.attempt,
        emission=envelope.emission,
        first_emitted_at_ms=envelope.first_emitted_at_ms,
        expires_at_ms=envelope.expires_at_ms,
        hmac=envelope.hmac,
    )


def from_message(message: edge_pb2.Envelope) -> Envelope:
    """The Envelope that came as `message`; its seal is not looked at here.

    Raises:
        MalformedEvent: a part that every Envelope has is missing or out of range; the text names it.
    """
    for name in ("batch", "attempt", "emission", "expires_at_ms"):
        if getattr(message, name) < 1:
            raise MalformedEvent(f"{name}: a number from 1 is needed")
    if message.seq < 0 or message.first_emitted_at_ms < 0:
        raise MalformedEvent("seq, first_emitted_at_ms: a number from 0 is needed")
    email = message.email
    if not (email.to and email.body):
        raise MalformedEvent("email: recipient and body are needed")
    return Envelope(
        delivery=DeliveryId(message.batch, message.seq),
        attempt=message.attempt,
        emission=message.emission,
        sender=getattr(email, "from"),
        recipient=email.to,
        return_path=email.return_path,
        body=email.body,
        first_emitted_at_ms=message.first_emitted_at_ms,
        expires_at_ms=message.expires_at_ms,
        hmac=message.hmac,
    )


class EnvelopeCodec:
    """Writes the data of `envelopes.ready` as a protobuf EnvelopeChunk: JSON has no octets."""

    content_type = "application/protobuf"

    def encode(self, payload: AnyPayload) -> bytes:
        """The chunk as octets.

        Raises:
            TypeError: another event than `envelopes.ready`.
        """
        if not isinstance(payload, EnvelopesReady):
            raise TypeError(f"EnvelopeCodec writes EnvelopesReady, not {type(payload).__name__}")
        return chunk_octets(payload.edge, payload.envelopes)

    def decode(self, kind: type[P], data: bytes) -> P:
        """The chunk back.

        Raises:
            MalformedEvent: `data` is no EnvelopeChunk, or an Envelope in it is not whole.
        """
        if kind is not EnvelopesReady:
            raise MalformedEvent(f"data: protobuf is not how {kind.__name__} is written")
        try:
            chunk = edge_pb2.EnvelopeChunk.FromString(data)
        except DecodeError:
            raise MalformedEvent("data: not an EnvelopeChunk") from None
        envelopes = tuple(from_message(message) for message in chunk.envelopes)
        if not (chunk.edge and envelopes):
            raise MalformedEvent("data: an EnvelopeChunk has an edge and at least one Envelope")
        return cast("P", EnvelopesReady(chunk.edge, envelopes))
