"""Envelopes read from Protocol Buffers, with the library."""

from dataclasses import replace
from typing import Final

from google.protobuf.message import DecodeError

from kannon.adapters.pb import edge_pb2
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope, Rest
from kannon.core.errors import MalformedEvent, NoSuchObject
from kannon.core.payloads import EnvelopesReady

SHA256_BYTES: Final = 32


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
    rest = _rest(message.rest) if message.HasField("rest") else None
    if not (email.to and (email.body or rest)):
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
        rest=rest,
    )


def from_submitted(message: edge_pb2.Envelope) -> Envelope:
    """The Envelope that an edge was handed: a rest stands behind its body, and is at hand then.

    Raises:
        MalformedEvent: as of `from_message`; or what stands there is not that rest.
    """
    envelope = from_message(message)
    if envelope.rest is None:
        return envelope
    start = len(envelope.body) - envelope.rest.size
    try:
        rest = envelope.rest.holding(envelope.body[start:] if start >= 0 else b"")
    except NoSuchObject:
        raise MalformedEvent("rest: not what stands behind the body") from None
    return replace(envelope, body=envelope.body[:start], rest=rest)


def _rest(message: edge_pb2.Rest) -> Rest:
    if message.size < 1 or len(message.digest) != SHA256_BYTES:
        raise MalformedEvent("rest: a size from 1 and a SHA-256 are needed")
    return Rest(message.name, message.size, message.digest)


def read_chunk(data: bytes) -> EnvelopesReady:
    """What an `EnvelopeChunk`, serialised, says.

    Raises:
        MalformedEvent: `data` is no EnvelopeChunk, or an Envelope in it is not whole.
    """
    try:
        chunk = edge_pb2.EnvelopeChunk.FromString(data)
    except DecodeError:
        raise MalformedEvent("data: not an EnvelopeChunk") from None
    envelopes = tuple(from_message(message) for message in chunk.envelopes)
    if not (chunk.edge and envelopes):
        raise MalformedEvent("data: an EnvelopeChunk has an edge and at least one Envelope")
    return EnvelopesReady(chunk.edge, envelopes)
