"""Return paths: read back by us, forged by nobody."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kannon.core.addresses import EmailAddress
from kannon.core.return_path import BadReturnPath, ReturnPath, mint, read

KEY = bytes(range(32))
OLD_KEY = bytes(32)
KEYS = {3: KEY, 2: OLD_KEY}
NOW = datetime(2026, 3, 1, 12, 30, 59, tzinfo=UTC)
EXPIRY = datetime(2026, 3, 15, tzinfo=UTC)
ADDRESS = mint(KEY, 3, 42, 7, EXPIRY, "example.com")

batches = st.integers(0, 2**64 - 1)
seqs = st.integers(0, 2**32 - 1)
expiries = st.datetimes(datetime(2026, 3, 2), datetime(9999, 12, 31), timezones=st.just(UTC))


@settings(deadline=None)
@given(batches, seqs, expiries)
@example(1, 1, datetime(3059, 1, 1, 0, 0, 59, 999997, tzinfo=UTC))
def test_a_return_path_says_which_delivery_it_is_of(batch: int, seq: int, expires_at: datetime) -> None:
    address = mint(KEY, 3, batch, seq, expires_at, "example.com")
    to_the_minute = expires_at.replace(second=0, microsecond=0)
    assert read(KEYS, address, NOW) == ReturnPath(batch, seq, to_the_minute)


@settings(deadline=None)
@given(batches, seqs, expiries)
def test_a_return_path_is_an_address_that_any_server_takes(
    batch: int, seq: int, expires_at: datetime
) -> None:
    address = mint(KEY, 15, batch, seq, expires_at, "example.com")
    local, _, domain = address.partition("@")
    assert len(local) <= 64
    assert (local[:7], domain) == ("bounce+", "example.com")
    assert str(EmailAddress.parse(address)) == address == address.lower()


def test_its_case_may_be_folded_on_the_way() -> None:
    assert read(KEYS, ADDRESS.upper(), NOW) == read(KEYS, ADDRESS.title(), NOW) == read(KEYS, ADDRESS, NOW)
    assert mint(KEY, 3, 42, 7, EXPIRY, "Example.COM") == ADDRESS


def test_what_was_made_with_the_key_before_is_still_read() -> None:
    old = mint(OLD_KEY, 2, 1, 1, EXPIRY, "example.com")
    assert read(KEYS, old, NOW).batch == 1
    with pytest.raises(BadReturnPath, match="key"):
        read({3: KEY}, old, NOW)


def test_it_expires_with_its_minute() -> None:
    assert read(KEYS, ADDRESS, EXPIRY).expires_at == EXPIRY
    with pytest.raises(BadReturnPath, match="expired"):
        read(KEYS, ADDRESS, EXPIRY + timedelta(seconds=1))


def test_it_is_good_for_its_own_domain_only() -> None:
    with pytest.raises(BadReturnPath, match="domain"):
        read(KEYS, ADDRESS.replace("example.com", "example.org"), NOW)


def test_a_key_under_another_id_does_not_open_it() -> None:
    with pytest.raises(BadReturnPath, match="forged"):
        read({3: OLD_KEY}, ADDRESS, NOW)


@settings(deadline=None)
@given(st.integers(0, len(ADDRESS) - 1), st.characters(codec="utf-8"))
def test_one_character_changed_is_never_accepted(at: int, character: str) -> None:
    assume(character.lower() != ADDRESS[at] or not character.isascii())
    with pytest.raises(BadReturnPath):
        read(KEYS, ADDRESS[:at] + character + ADDRESS[at + 1 :], NOW)


def test_no_single_change_within_the_alphabet_is_ever_accepted() -> None:
    for at in range(len(ADDRESS)):
        for character in "abcdefghijklmnopqrstuvwxyz234567189+=@.K\u017f\u212a":
            if character.lower() != ADDRESS[at] or not character.isascii():
                with pytest.raises(BadReturnPath):
                    read(KEYS, ADDRESS[:at] + character + ADDRESS[at + 1 :], NOW)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text().map(lambda text: f"bounce+{text}@example.com"),
        st.text("abcdefghijklmnopqrstuvwxyz234567=", min_size=53, max_size=53).map(
            lambda t: f"bounce+{t}@example.com"
        ),
        st.integers(0, len(ADDRESS)).map(lambda at: ADDRESS[:at]),
        st.integers(1, len(ADDRESS)).map(lambda at: ADDRESS[at:]),
        st.sampled_from(["", " ", "<", ">", "\n", "\0", "=", "."]).map(lambda end: f"{ADDRESS}{end or '@'}"),
    ).filter(lambda address: address != ADDRESS)
)
def test_anything_else_is_a_bad_return_path_and_no_other_error(address: str) -> None:
    with pytest.raises(BadReturnPath):
        read(KEYS, address, NOW)


@pytest.mark.parametrize(
    ("key_id", "batch", "seq", "expires_at"),
    [
        (16, 1, 1, EXPIRY),
        (-1, 1, 1, EXPIRY),
        (1, 2**64, 1, EXPIRY),
        (1, -1, 1, EXPIRY),
        (1, 1, 2**32, EXPIRY),
        (1, 1, 1, datetime(1960, 1, 1, tzinfo=UTC)),
        (1, 1, 1, EXPIRY.replace(tzinfo=None)),
    ],
)
def test_numbers_that_do_not_fit_are_mistakes_of_the_caller(
    key_id: int, batch: int, seq: int, expires_at: datetime
) -> None:
    with pytest.raises(ValueError, match=r"key_id|out of range|aware"):
        mint(KEY, key_id, batch, seq, expires_at, "example.com")
