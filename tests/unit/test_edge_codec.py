"""Envelopes as protobuf."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.adapters.envelope_codec import EnvelopeCodec
from kannon.adapters.envelope_messages import from_message, from_submitted
from kannon.adapters.envelope_octets import chunk_octets, submit_octets
from kannon.adapters.pb import edge_pb2
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope, Rest
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import DeliveriesDue, EnvelopesReady, TransmissionsDelivered
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from tests.edge_samples import an_envelope

_INT64 = st.integers(1, 2**63 - 1)
_INT32 = st.integers(1, 2**31 - 1)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ENVELOPES = st.builds(
    Envelope,
    delivery=st.builds(DeliveryId, _INT64, st.integers(0, 2**31 - 1)),
    attempt=_INT32,
    emission=_INT32,
    sender=_TEXT,
    recipient=_TEXT,
    return_path=st.just("") | _TEXT,
    body=st.binary(min_size=1),
    first_emitted_at_ms=st.integers(0, 2**63 - 1),
    expires_at_ms=_INT64,
    hmac=st.binary(),
    rest=st.none() | st.builds(Rest, _TEXT, _INT64, st.binary(min_size=32, max_size=32)),
)


def submitted(envelope: Envelope) -> edge_pb2.Envelope:
    """The Envelope as the edge's call carries it, and as another Protocol Buffers library would write it."""
    message = edge_pb2.SubmitRequest.FromString(submit_octets([envelope])).envelopes[0]
    return edge_pb2.Envelope.FromString(message.SerializeToString())


@given(st.lists(ENVELOPES, min_size=1, max_size=5))
def test_what_is_written_is_read(envelopes: list[Envelope]) -> None:
    codec = EnvelopeCodec()
    payload = EnvelopesReady("edge-0", tuple(envelopes))
    assert codec.decode(EnvelopesReady, codec.encode(payload)) == payload
    assert [from_message(submitted(envelope)) for envelope in envelopes] == envelopes


def test_what_the_edge_is_called_with() -> None:
    message = submitted(an_envelope(3))
    assert (message.email.email_id, message.email.should_retry) == ("7.3", True)
    assert from_message(message) == an_envelope(3)


def test_as_an_event() -> None:
    sealer = Sealer(b"key", "/kannon/dispatch", {EnvelopesReady: EnvelopeCodec()})
    payload = EnvelopesReady("edge-0", (an_envelope(1), an_envelope(2)))
    event = sealer.seal(payload, utc_now())
    assert (event.datacontenttype, event.itemcount) == ("application/protobuf", "2")
    assert sealer.open(event, [EnvelopesReady]) == payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff",
        edge_pb2.EnvelopeChunk(edge="edge-0").SerializeToString(),
        chunk_octets("", [an_envelope()]),
        edge_pb2.EnvelopeChunk(edge="edge-0", envelopes=[edge_pb2.Envelope()]).SerializeToString(),
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    with pytest.raises(MalformedEvent):
        EnvelopeCodec().decode(EnvelopesReady, data)


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 0},
        {"emission": 0},
        {"expires_at_ms": 0},
        {"first_emitted_at_ms": -1},
        {"body": b""},
        {"recipient": ""},
        {"delivery": DeliveryId(0, 1)},
        {"delivery": DeliveryId(1, -1)},
    ],
)
def test_what_is_no_envelope(change: dict[str, object]) -> None:
    message = submitted(replace(an_envelope(), **change))  # type: ignore[arg-type]
    with pytest.raises(MalformedEvent):
        from_message(message)


def test_other_events_are_not_its_business() -> None:
    with pytest.raises(TypeError):
        EnvelopeCodec().encode(DeliveriesDue(1, "x"))
    with pytest.raises(MalformedEvent):
        EnvelopeCodec().decode(TransmissionsDelivered, b"")


def test_the_edge_is_handed_the_whole_message_and_told_where_the_rest_begins() -> None:
    octets = b"the end of it"
    rest = Rest("envelopes/2026010100/aa", len(octets), sha256(octets).digest(), octets)
    envelope = replace(an_envelope(3), rest=rest)
    message = submitted(envelope)
    assert message.email.body == envelope.body + octets
    assert from_submitted(message) == envelope
    assert from_submitted(message).whole().body == envelope.body + octets
    message.email.body = message.email.body[:-1] + b"!"
    with pytest.raises(MalformedEvent, match=r"^rest: "):
        from_submitted(message)
    message.email.body = b"shorter"
    with pytest.raises(MalformedEvent, match=r"^rest: "):
        from_submitted(message)


def test_an_event_has_no_octets_of_a_rest() -> None:
    rest = Rest("envelopes/2026010100/aa", 8, bytes(32), b"8 octets")
    assert b"8 octets" not in chunk_octets("edge-0", [replace(an_envelope(3), rest=rest)])
