"""Subkeys of the one secret, and what is sealed with them."""

import pytest

from kannon.core.keys import Purpose, SealBroken, open_sealed, seal, subkey

SECRET = b"sixteen bytes!!!"
NONCE = bytes(range(12))


def test_each_purpose_has_a_key_of_its_own() -> None:
    keys = {subkey(SECRET, purpose) for purpose in Purpose}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}


def test_the_same_secret_gives_the_same_key_wherever_it_is_asked() -> None:
    assert subkey(SECRET, Purpose.EVENTS) == subkey(SECRET, Purpose("events"))
    assert subkey(SECRET, Purpose.EVENTS) != subkey(SECRET + b"!", Purpose.EVENTS)


def test_subkeys_never_change_from_one_version_to_the_next() -> None:
    assert subkey(SECRET, Purpose.DKIM_KEYS).hex() == (
        "49fd70daa714a468b7ffa461744b43deb3b7856c04963681442ec7ff7e6fa084"
    )


def test_a_short_secret_is_refused_by_the_name_of_its_variable() -> None:
    with pytest.raises(ValueError, match="K_SECRET"):
        subkey(b"fifteen bytes!!", Purpose.EVENTS)


def test_what_is_sealed_opens_in_its_own_context() -> None:
    key = subkey(SECRET, Purpose.DKIM_KEYS)
    sealed = seal(key, b"a private key", NONCE, "example.com")
    assert b"private" not in sealed
    assert open_sealed(key, sealed, "example.com") == b"a private key"


def test_a_seal_opens_neither_for_another_domain_nor_with_another_key() -> None:
    key = subkey(SECRET, Purpose.DKIM_KEYS)
    sealed = seal(key, b"a private key", NONCE, "example.com")
    with pytest.raises(SealBroken):
        open_sealed(key, sealed, "example.org")
    with pytest.raises(SealBroken, match="K_SECRET"):
        open_sealed(subkey(SECRET, Purpose.EVENTS), sealed, "example.com")


@pytest.mark.parametrize("length", [0, 5, 12, 27, 40])
def test_a_seal_cut_short_or_changed_is_broken(length: int) -> None:
    key = subkey(SECRET, Purpose.DKIM_KEYS)
    sealed = seal(key, b"a private key", NONCE, "example.com")
    with pytest.raises(SealBroken):
        open_sealed(key, sealed[:length], "example.com")
    at = min(length, len(sealed) - 1)
    changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
    with pytest.raises(SealBroken):
        open_sealed(key, changed, "example.com")


def test_keys_and_nonces_of_a_wrong_length_are_mistakes_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nonce"):
        seal(bytes(32), b"", bytes(11), "example.com")
    with pytest.raises(ValueError, match="key"):
        seal(bytes(16), b"", NONCE, "example.com")
    with pytest.raises(ValueError, match="key"):
        open_sealed(bytes(31), bytes(40), "example.com")
