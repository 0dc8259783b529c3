"""The seal of an Envelope covers every part of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.envelope_seal import envelope_hmac, verify_envelope_hmac

KEY = bytes(range(32))
ENVELOPE: dict[str, Any] = {
    "batch": 42,
    "seq": 7,
    "attempt": 1,
    "sender": "news@example.com",
    "recipient": "josé@example.org",
    "return_path": "bounce+x@example.com",
    "body": b"Subject: Hi\r\n\r\nHi\r\n",
    "expires_at_ms": 1_767_225_600_000,
}
CHANGES: list[tuple[str, Any]] = [
    ("batch", 43),
    ("seq", 8),
    ("attempt", 2),
    ("sender", "evil@example.com"),
    ("recipient", "evil@example.org"),
    ("return_path", ""),
    ("body", b"Subject: Hi\r\n\r\nHi\r\n\r\n"),
    ("expires_at_ms", 1_767_225_600_001),
]


def test_an_envelope_with_its_seal_is_taken() -> None:
    mac = envelope_hmac(KEY, **ENVELOPE)
    assert len(mac) == 32
    assert verify_envelope_hmac(KEY, mac, **ENVELOPE)


def test_the_seal_stays_the_same_from_one_version_to_the_next() -> None:
    assert (
        envelope_hmac(KEY, **ENVELOPE).hex()
        == "5881f683d7f598ba5946d11c69be28dbb7d498f81c576eabb942701ef3366e09"
    )


@pytest.mark.parametrize(("part", "value"), CHANGES)
def test_an_envelope_changed_in_any_part_is_not(part: str, value: object) -> None:
    mac = envelope_hmac(KEY, **ENVELOPE)
    assert not verify_envelope_hmac(KEY, mac, **{**ENVELOPE, part: value})


def test_every_part_of_an_envelope_is_tried_above() -> None:
    assert {part for part, _ in CHANGES} == set(ENVELOPE)


@pytest.mark.parametrize("mac", [b"", bytes(32), bytes(31)])
def test_a_seal_of_nobody_is_not_taken(mac: bytes) -> None:
    assert not verify_envelope_hmac(KEY, mac, **ENVELOPE)
    assert not verify_envelope_hmac(bytes(32), envelope_hmac(KEY, **ENVELOPE), **ENVELOPE)


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(0, 20))
def test_what_ends_one_part_cannot_begin_the_next(sender: str, recipient: str, cut: int) -> None:
    joined = sender + recipient
    one = {**ENVELOPE, "sender": sender, "recipient": recipient}
    other = {**ENVELOPE, "sender": joined[:cut], "recipient": joined[cut:]}
    same_seal = envelope_hmac(KEY, **one) == envelope_hmac(KEY, **other)
    assert same_seal == (one == other)
