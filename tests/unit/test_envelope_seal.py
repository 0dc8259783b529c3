"""The seal of an Envelope covers every part of it that matters."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.deliveries import DeliveryId
from kannon.core.envelope_seal import is_sealed, sealed
from kannon.core.envelopes import Envelope, Rest

KEY = bytes(range(32))
ENVELOPE = Envelope(
    delivery=DeliveryId(42, 7),
    attempt=1,
    emission=1,
    sender="news@example.com",
    recipient="josé@example.org",
    return_path="bounce+x@example.com",
    body=b"Subject: Hi\r\n\r\nHi\r\n",
    first_emitted_at_ms=1_767_000_000_000,
    expires_at_ms=1_767_225_600_000,
    hmac=b"",
    rest=Rest("envelopes/2026010100/aa", 5, bytes(32)),
)
CHANGES: list[tuple[str, Any]] = [
    ("delivery", DeliveryId(43, 7)),
    ("delivery", DeliveryId(42, 8)),
    ("attempt", 2),
    ("sender", "evil@example.com"),
    ("recipient", "evil@example.org"),
    ("return_path", ""),
    ("body", b"Subject: Hi\r\n\r\nHi\r\n\r\n"),
    ("expires_at_ms", 1_767_225_600_001),
    ("rest", None),
    ("rest", Rest("envelopes/2026010100/aa", 6, bytes(32))),
    ("rest", Rest("envelopes/2026010100/aa", 5, bytes(31) + b"x")),
]
UNSEALED = {"emission", "first_emitted_at_ms", "hmac"}


def changed(**parts: Any) -> Envelope:
    return replace(ENVELOPE, **parts)


def test_an_envelope_with_its_seal_is_taken() -> None:
    envelope = sealed(KEY, ENVELOPE)
    assert len(envelope.hmac) == 32
    assert is_sealed(KEY, envelope)


def test_the_seal_stays_the_same_from_one_version_to_the_next() -> None:
    known = "5881f683d7f598ba5946d11c69be28dbb7d498f81c576eabb942701ef3366e09"
    assert sealed(KEY, changed(rest=None)).hmac.hex() == known


@pytest.mark.parametrize(("part", "value"), CHANGES)
def test_an_envelope_changed_in_any_part_is_not(part: str, value: Any) -> None:
    assert not is_sealed(KEY, replace(sealed(KEY, ENVELOPE), **{part: value}))


def test_another_publishing_carries_the_same_seal() -> None:
    assert is_sealed(KEY, replace(sealed(KEY, ENVELOPE), emission=2, first_emitted_at_ms=1))


def test_every_part_of_an_envelope_is_tried_above() -> None:
    assert {part for part, _ in CHANGES} | UNSEALED == {part.name for part in fields(Envelope)}


def test_where_a_rest_is_stored_is_not_sealed_for_its_digest_says_what_it_is() -> None:
    assert is_sealed(KEY, replace(sealed(KEY, ENVELOPE), rest=Rest("", 5, bytes(32), b"x" * 5)))


@pytest.mark.parametrize("mac", [b"", bytes(32), bytes(31)])
def test_a_seal_of_nobody_is_not_taken(mac: bytes) -> None:
    assert not is_sealed(KEY, changed(hmac=mac))
    assert not is_sealed(bytes(32), sealed(KEY, ENVELOPE))


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(0, 20))
def test_what_ends_one_part_cannot_begin_the_next(sender: str, recipient: str, cut: int) -> None:
    joined = sender + recipient
    one = changed(sender=sender, recipient=recipient)
    other = changed(sender=joined[:cut], recipient=joined[cut:])
    assert (sealed(KEY, one).hmac == sealed(KEY, other).hmac) == (one == other)
