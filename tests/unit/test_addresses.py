"""Which texts are addresses and domain names, and what becomes of them."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.addresses import EmailAddress, InvalidAddress, domain_name, masked_addresses

PLAIN = [
    "a@b.co",
    "first.last+tag@mail.example.com",
    "o'hara!#$%&*/=?^_`{|}~-@example.org",
    "1@2x.example",
    "x@a-b.c0m",
    "x@digits.in.42.example",
    f"{'l' * 64}@{'d' * 63}.{'e' * 63}.example",
    f"a@{'.'.join('d' * 62 for _ in range(4))}",
]

NOT_ADDRESSES = [
    "",
    "@",
    "a",
    "a@",
    "@b.co",
    "a@b",
    "a@b@c.co",
    "a@.co",
    "a@b.",
    "a@b..co",
    ".a@b.co",
    "a.@b.co",
    "a..b@c.co",
    "a@-b.co",
    "a@b-.co",
    "a@b_c.co",
    "a@1.2.3.4",
    "a@[1.2.3.4]",
    "a@[IPv6:::1]",
    '"a"@b.co',
    '"a b"@b.co',
    "A <a@b.co>",
    "<a@b.co>",
    "a@b.co>",
    " a@b.co",
    "a@b.co ",
    "a @b.co",
    "a@b.co\n",
    "a\r@b.co",
    "a\0@b.co",
    "a\t@b.co",
    "a\x7f@b.co",
    "a\x85@b.co",
    "a\u2028@b.co",
    "a\u00a0@b.co",
    "a\u202e@b.co",
    "\u0301a@b.co",
    "a@xn--a.com",
    "a@ab--cd.com",
    "\ud800@b.co",
    f"{'l' * 65}@b.co",
    f"{'é' * 33}@b.co",
    f"a@{'d' * 64}.co",
    f"a@{'.'.join('d' * 63 for _ in range(4))}",
    f"{'a' * 10_000}@b.co",
    "a@" + "b." * 5_000 + "co",
]

NO_DOMAIN_NAMES = [
    "",
    "com",
    ".com",
    "a.com.",
    "a..com",
    "-a.com",
    "a_b.com",
    "a b.com",
    "a.com\n",
    "a.com\0",
]
NO_DOMAIN_NAMES += ["a@b.com", "<a.com>", "xn--a.com", "1.2.3.4", "[1.2.3.4]"]


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_address_is_taken_as_it_is_and_the_strict_way_agrees(text: str) -> None:
    address = EmailAddress.parse(text)
    assert str(address) == address.wire == text
    assert EmailAddress.parse(text, strict=True) == address


@pytest.mark.parametrize("text", NOT_ADDRESSES)
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_no_address_is_refused_with_a_reason(text: str, strict: bool) -> None:
    with pytest.raises(InvalidAddress) as refusal:
        EmailAddress.parse(text, strict=strict)
    assert refusal.value.reason


@pytest.mark.parametrize("strict", [False, True])
def test_the_domain_is_folded_to_lower_case_and_the_local_part_is_not(strict: bool) -> None:
    assert str(EmailAddress.parse("PostMaster@Example.COM", strict=strict)) == "PostMaster@example.com"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("domain", ["demo.test", "mail.local", "sink.invalid", "mx.localhost"])
def test_whether_a_domain_can_be_reached_is_not_for_the_syntax_to_say(domain: str, strict: bool) -> None:
    assert EmailAddress.parse(f"a@{domain}", strict=strict).domain == domain


def test_an_internationalised_domain_is_one_whichever_way_it_is_written() -> None:
    unicode = EmailAddress.parse("a@Exämple.com")
    assert unicode == EmailAddress.parse("a@XN--exmple-cua.com") == EmailAddress.parse("a@exämple。com")
    assert unicode.ascii_domain == "xn--exmple-cua.com"
    assert unicode.wire == "a@xn--exmple-cua.com"
    assert str(unicode) == "a@exämple.com"


def test_a_local_part_in_unicode_is_composed_and_kept() -> None:
    address = EmailAddress.parse("jose\u0301@example.com")
    assert address.local == "jos\u00e9"
    assert address.wire == "jos\u00e9@example.com"


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_no_address_ever_carries_what_could_break_a_header_or_a_command(
    local: str, domain: str, strict: bool
) -> None:
    try:
        address = EmailAddress.parse(f"{local}@{domain}.example", strict=strict)
    except InvalidAddress:
        return
    assert not any(unicodedata.category(character)[0] in "ZC" for character in str(address))
    assert not set(str(address)) & set('<>"@ ') - {"@"}
    assert str(address).count("@") == 1
    assert address.wire.partition("@")[2].isascii()


@settings(deadline=None)
@given(st.from_regex(r"[a-z.'=-]{1,8}@[a-zA-Z0-9.-]{1,12}", fullmatch=True))
def test_both_ways_of_parsing_agree_on_what_is_ascii(text: str) -> None:
    assert outcome(text, strict=False) == outcome(text, strict=True)


def outcome(text: str, *, strict: bool) -> EmailAddress | None:
    try:
        return EmailAddress.parse(text, strict=strict)
    except InvalidAddress:
        return None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("News.Example.COM", "news.example.com"),
        ("exämple.com", "xn--exmple-cua.com"),
        ("XN--exmple-cua.com", "xn--exmple-cua.com"),
        ("a.test", "a.test"),
        (".".join(["d" * 63] * 3 + ["e" * 61]), ".".join(["d" * 63] * 3 + ["e" * 61])),
    ],
)
def test_a_domain_name_is_read_into_a_labels(text: str, name: str) -> None:
    assert domain_name(text) == name


@pytest.mark.parametrize(
    "text",
    [*NO_DOMAIN_NAMES, "d" * 64 + ".com", ".".join(["d" * 63] * 4)],
)
def test_what_is_no_domain_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        domain_name(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ada@example.org", "a…@example.org"),
        (
            "550 <ada.l@example.org>: no such user, bob@b.test",
            "550 <a…@example.org>: no such user, b…@b.test",
        ),
        ("to=ada@example.org", "t…@example.org"),
        ("ädä@exämple.org", "ä…@exämple.org"),
        ("a@b@c", "a…@c"),
        ("no address: @ all, @example.org, ada@", "no address: @ all, @example.org, ada@"),
        ("", ""),
    ],
)
def test_addresses_in_a_text_are_masked(text: str, shown: str) -> None:
    assert masked_addresses(text) == shown


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    assert masked_addresses("x" * 10_000_000) == "x" * 10_000_000
