"""Envelopes as protobuf: the data of `envelopes.ready`."""

from typing import cast

from kannon.adapters.envelope_octets import chunk_octets
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import AnyPayload, EnvelopesReady
from kannon.events import P


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
        from kannon.adapters.envelope_messages import read_chunk  # here, because dispatch only writes

        return cast("P", read_chunk(data))
