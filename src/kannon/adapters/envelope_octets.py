"""Envelopes written as Protocol Buffers (protobuf.dev, "Encoding"), without the library.

It would take 3 MB of dispatch, which reads no message, and copy each body three times. The numbers of the
fields are those of `proto/kannonapi`; the tests read with the library what is written here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from kannon.core.envelopes import Envelope, Rest

_UINT64: Final = 2**64 - 1
_ONE_OCTET: Final = tuple(bytes((number,)) for number in range(0x80))


def chunk_octets(edge: str, envelopes: Sequence[Envelope]) -> bytes:
    """An `EnvelopeChunk`, serialised, without the octets of rests."""
    apart = [replace(it, rest=replace(it.rest, octets=b"")) if it.rest else it for it in envelopes]
    return b"".join([_octets(_EDGE, edge.encode()), *_repeated(_IN_CHUNK, apart)])


def submit_octets(envelopes: Sequence[Envelope]) -> bytes:
    """A `SubmitRequest`, serialised; rests are at hand."""
    return b"".join(_repeated(_IN_REQUEST, envelopes))


def _varint(number: int) -> bytes:
    if 0 <= number < 0x80:
        return _ONE_OCTET[number]
    octets = bytearray()
    number &= _UINT64
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _with_length(field: int) -> bytes:
    return _varint(field << 3 | 2)


def _of_number(field: int) -> bytes:
    return _varint(field << 3)


_EDGE: Final = _with_length(1)
_IN_CHUNK: Final = _with_length(2)
_IN_REQUEST: Final = _with_length(1)

_EMAIL: Final = _with_length(1)
_BATCH: Final = _of_number(2)
_SEQ: Final = _of_number(3)
_ATTEMPT: Final = _of_number(4)
_EMISSION: Final = _of_number(5)
_FIRST_EMITTED: Final = _of_number(6)
_EXPIRES: Final = _of_number(7)
_HMAC: Final = _with_length(8)

_REST: Final = _with_length(100)
_REST_NAME: Final = _with_length(1)
_REST_SIZE: Final = _of_number(2)
_REST_DIGEST: Final = _with_length(3)

_EMAIL_ID: Final = _with_length(1)
_FROM: Final = _with_length(2)
_TO: Final = _with_length(3)
_RETURN_PATH: Final = _with_length(4)
_BODY: Final = _with_length(5)
_SHOULD_RETRY: Final = _of_number(6) + _varint(True)


def _repeated(tag: bytes, envelopes: Sequence[Envelope]) -> list[bytes]:
    """The Envelopes as a repeated field, in pieces: a body is copied once, when they are joined. A rest at
    hand is written behind its body."""
    pieces: list[bytes] = []
    for envelope in envelopes:
        body = (envelope.body, envelope.rest.octets) if envelope.rest else (envelope.body,)
        size = sum(map(len, body))
        head = _email_but_body(envelope) + _BODY + _varint(size)
        email = _EMAIL + _varint(len(head) + size) + head
        rest = _rest(envelope)
        pieces += (tag, _varint(len(email) + size + len(rest)), email, *body, rest)
    return pieces


def _email_but_body(envelope: Envelope) -> bytes:
    return (
        _SHOULD_RETRY
        + _octets(_EMAIL_ID, str(envelope.delivery).encode())
        + _octets(_FROM, envelope.sender.encode())
        + _octets(_TO, envelope.recipient.encode())
        + _octets(_RETURN_PATH, envelope.return_path.encode())
    )


def _rest(envelope: Envelope) -> bytes:
    return (
        _number(_BATCH, envelope.delivery.batch)
        + _number(_SEQ, envelope.delivery.seq)
        + _number(_ATTEMPT, envelope.attempt)
        + _number(_EMISSION, envelope.emission)
        + _number(_FIRST_EMITTED, envelope.first_emitted_at_ms)
        + _number(_EXPIRES, envelope.expires_at_ms)
        + _octets(_HMAC, envelope.hmac)
        + _reference(envelope.rest)
    )


def _reference(rest: Rest | None) -> bytes:
    if rest is None:
        return b""
    return _octets(
        _REST,
        _octets(_REST_NAME, rest.name.encode())
        + _number(_REST_SIZE, rest.size)
        + _octets(_REST_DIGEST, rest.digest),
    )


def _octets(tag: bytes, value: bytes) -> bytes:
    return tag + _varint(len(value)) + value


def _number(tag: bytes, value: int) -> bytes:
    return tag + _varint(value)
