"""Envelopes read from Protocol Buffers, with the library."""

from google.protobuf.message import DecodeError

from kannon.adapters.pb import edge_pb2
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import EnvelopesReady


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
