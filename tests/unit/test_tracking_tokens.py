"""Tracking tokens: small, the same wherever they are made, and nothing passes for one that is none."""

import base64
import hashlib
import hmac
import json
import random
import string
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import (
    MAX_TOKEN_CHARS,
    BadToken,
    SigningKey,
    TokenReader,
    UnknownKey,
    is_destination,
)

SEED = bytes(range(32))
KEY = SigningKey("k1", SEED)
OTHER_KEY = SigningKey("k2", bytes(32))
READER = TokenReader({"k1": KEY.public})
NOW = datetime(2026, 3, 1, tzinfo=UTC)
EXPIRES_AT = int((NOW + timedelta(days=90)).timestamp())
HOST = "stats.example.com"
CLICK = Claims(
    Audience.CLICK, "example.com", Mode.IDENTIFIED, 42, EXPIRES_AT, 7, url="https://shop.example/a?b=1"
)
OPEN = Claims(Audience.OPEN, "example.com", Mode.ANONYMOUS, 42, EXPIRES_AT)
TOKEN = KEY.mint(CLICK)

ALPHABET = string.ascii_letters + string.digits + "-_"
deliveries = st.tuples(st.integers(0, 2**63 - 1), st.none() | st.integers(0, 2**31 - 1))


def read(token: str, audience: Audience = Audience.CLICK, host: str = HOST, now: datetime = NOW) -> Claims:
    return READER.read(token, audience, host, now)


def encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes, seed: bytes = SEED) -> str:
    """A token of these parts, signed with a key of ours."""
    head = f"{encoded(header)}.{encoded(payload)}"
    return f"{head}.{encoded(Ed25519PrivateKey.from_private_bytes(seed).sign(head.encode()))}"


@settings(deadline=None)
@given(
    st.sampled_from(Audience), st.sampled_from(Mode), deliveries, st.text(max_size=20), st.text(max_size=99)
)
def test_a_token_says_what_it_was_made_for(
    audience: Audience, mode: Mode, delivery: tuple[int, int | None], pseudonym: str, rest: str
) -> None:
    url = f"https://x.example/{rest}"
    if audience is not Audience.CLICK or not is_destination(url):
        url = "http://x.example"
    claims = Claims(audience, "example.com", mode, delivery[0], EXPIRES_AT, delivery[1], pseudonym, url)
    assert read(KEY.mint(claims), audience) == claims


def test_any_other_implementation_reads_it() -> None:
    public = Ed25519PublicKey.from_public_bytes(KEY.public)
    assert jwt.get_unverified_header(TOKEN) == {"alg": "EdDSA", "kid": "k1"}
    assert jwt.decode(
        TOKEN, public, algorithms=["EdDSA"], audience="kannon/click", options={"verify_exp": False}
    ) == {
        "aud": "kannon/click",
        "iss": "example.com",
        "exp": EXPIRES_AT,
        "m": 4,
        "b": 42,
        "s": 7,
        "u": "https://shop.example/a?b=1",
    }


def test_it_is_the_same_whenever_and_wherever_it_is_made() -> None:
    assert SigningKey("k1", SEED).mint(CLICK) == TOKEN
    assert KEY.mint(OPEN) == SigningKey("k1", SEED).mint(replace(OPEN))


def test_it_is_small() -> None:
    assert len(KEY.mint(OPEN)) <= 250
    assert len(TOKEN) - len(CLICK.url) * 4 // 3 <= 260


def test_where_recipients_are_not_told_apart_nothing_of_one_is_in_it() -> None:
    payload = json.loads(base64.urlsafe_b64decode(KEY.mint(OPEN).split(".")[1] + "=="))
    assert payload.keys() == {"aud", "iss", "exp", "m", "b"}


def test_a_destination_of_2000_characters_works() -> None:
    url = "https://x.example/" + "a" * 1982
    token = KEY.mint(replace(CLICK, url=url))
    assert read(token).url == url
    assert len(token) <= MAX_TOKEN_CHARS


def test_the_longest_destination_fits_into_the_largest_token() -> None:
    url = "https://x.example/" + "a" * 4078
    token = KEY.mint(replace(CLICK, url=url, domain="d" * 63 + ".example", pseudonym="p" * 120))
    assert len(token) <= MAX_TOKEN_CHARS
    with pytest.raises(ValueError, match="too long"):
        KEY.mint(replace(CLICK, url=url + "a"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "//evil.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://x.example/",
        "mailto:a@x.example",
        "https:x.example",
        "https:///x.example",
        "https://\\x.example",
        " https://x.example",
        "https://x.example/\r\nSet-Cookie: a=b",
        "https://x.example/\x00",
        "https://\x01x.example/",
        "https://x.example/\ud800",
        "https://",
    ],
)
def test_a_link_leads_to_http_or_https_or_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="tracked link"):
        KEY.mint(replace(CLICK, url=url))
    payload = {"aud": "kannon/click", "iss": "example.com", "exp": EXPIRES_AT, "m": 4, "b": 42, "s": 7}
    if url:
        payload["u"] = url
    says = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    with pytest.raises(BadToken):
        read(signed(b'{"alg":"EdDSA","kid":"k1"}', says))


@pytest.mark.parametrize("url", ["http://x", "HTTPS://X.example/ü b?c={d}|e#f", "https://[::1]:8080/"])
def test_a_destination_is_kept_as_it_was_written(url: str) -> None:
    assert read(KEY.mint(replace(CLICK, url=url))).url == url


def test_it_expires_with_its_second() -> None:
    last = datetime.fromtimestamp(EXPIRES_AT - 1, UTC)
    assert read(TOKEN, now=last) == CLICK
    with pytest.raises(BadToken, match="expired"):
        read(TOKEN, now=last + timedelta(seconds=1))


@pytest.mark.parametrize("audience", [Audience.OPEN, Audience.UNSUBSCRIBE])
def test_it_is_for_one_use(audience: Audience) -> None:
    with pytest.raises(BadToken, match="another use"):
        read(TOKEN, audience)


def test_it_counts_at_its_own_domain_alone() -> None:
    theirs = KEY.mint(replace(CLICK, domain="example.org"))
    assert read(theirs, host="stats.example.org").domain == "example.org"
    assert read(TOKEN, host="Stats.Example.COM") == CLICK
    for token, host in [(TOKEN, "stats.example.org"), (theirs, HOST), (TOKEN, "example.com"), (TOKEN, "")]:
        with pytest.raises(BadToken, match="another host"):
            read(token, host=host)


def test_another_key_says_so_that_keys_may_be_read_again() -> None:
    with pytest.raises(UnknownKey):
        read(OTHER_KEY.mint(CLICK))
    both = TokenReader({"k1": KEY.public, "k2": OTHER_KEY.public})
    assert both.read(OTHER_KEY.mint(CLICK), Audience.CLICK, HOST, NOW) == CLICK


def test_another_key_under_the_id_of_ours_is_forgery() -> None:
    with pytest.raises(BadToken, match="forged"):
        read(SigningKey("k1", bytes(32)).mint(CLICK))


PAYLOAD = base64.urlsafe_b64decode(TOKEN.split(".")[1] + "===")


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","kid":"k1"}',
        b'{"alg":"HS256","kid":"k1"}',
        b'{"alg":"ES256","kid":"k1"}',
        b'{"alg":"eddsa","kid":"k1"}',
        b'{"alg":"EdDSA"}',
        b'{"alg":"EdDSA","kid":1}',
        b'{"alg":"EdDSA","kid":["k1"]}',
        b'{"alg":"EdDSA","kid":"../k1"}',
        b'{"alg":"EdDSA","kid":"' + b"k" * 99 + b'"}',
        b'{"alg":"EdDSA","kid":"k1","crit":["x"]}',
        b'{"kid":"k1","alg":"EdDSA"}',
        b'{"alg":"EdDSA", "kid":"k1"}',
        b'{"alg":"EdDSA","kid":"k1","jwk":{}}',
        b"[" * 3000,
        b"\xff\xfe",
        b"null",
        b"",
    ],
)
def test_of_headers_there_is_one(header: bytes) -> None:
    with pytest.raises(BadToken, match="not a token"):
        read(signed(header, PAYLOAD))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        PAYLOAD + b" ",
        PAYLOAD.replace(b'"b":42', b'"b":42.0'),
        PAYLOAD.replace(b'"b":42', b'"b":"42"'),
        PAYLOAD.replace(b'"m":4', b'"m":6'),
        PAYLOAD.replace(b'"m":4', b'"m":true'),
        PAYLOAD.replace(b'"s":7', b'"s":null'),
        PAYLOAD.replace(b'"iss":"example.com"', b'"iss":["example.com"]'),
        PAYLOAD.replace(b'"aud":"kannon/click"', b'"aud":["kannon/click"]'),
        PAYLOAD.replace(b'"exp":', b'"exp":-'),
        PAYLOAD.replace(b',"exp":%d' % EXPIRES_AT, b""),
    ],
)
def test_even_under_our_signature_it_says_only_what_we_say(payload: bytes) -> None:
    with pytest.raises(BadToken):
        read(signed(b'{"alg":"EdDSA","kid":"k1"}', payload))


def test_none_is_not_an_algorithm() -> None:
    claims = jwt.decode(TOKEN, options={"verify_signature": False})
    with pytest.raises(BadToken):
        read(jwt.encode(claims, "", algorithm="none", headers={"kid": "k1"}))
    with pytest.raises(BadToken):
        read(f"{TOKEN.rpartition('.')[0]}.")


def test_the_public_key_is_not_a_shared_secret() -> None:
    for header in (b'{"alg":"HS256","kid":"k1"}', b'{"alg":"EdDSA","kid":"k1"}'):
        head = f"{encoded(header)}.{encoded(PAYLOAD)}"
        mac = hmac.digest(KEY.public, head.encode(), hashlib.sha256)
        for signature in (mac, mac + mac):
            with pytest.raises(BadToken):
                read(f"{head}.{encoded(signature)}")


def test_every_truncation_is_refused() -> None:
    for end in range(len(TOKEN)):
        with pytest.raises(BadToken):
            read(TOKEN[:end])
        with pytest.raises(BadToken):
            read(TOKEN[end + 1 :])


def test_there_is_one_way_to_write_a_token() -> None:
    """The last letter of a signature has four spare bits, which a lenient decoder ignores."""
    others = [TOKEN[:-1] + letter for letter in ALPHABET if letter != TOKEN[-1]]
    decorated = [TOKEN + "=", TOKEN + "==", TOKEN + "\n", " " + TOKEN, TOKEN + ".", "." + TOKEN, TOKEN + "ü"]
    standard = [TOKEN.replace("-", "+").replace("_", "/")] if set("-_") & set(TOKEN) else []
    inside = [TOKEN[:place] + stray + TOKEN[place:] for place in (3, 90, len(TOKEN) - 3) for stray in " \n=!"]
    for token in others + decorated + standard + inside:
        with pytest.raises(BadToken):
            read(token)


def test_of_100_000_mutations_none_is_accepted() -> None:
    chance = random.Random(20260301)
    letters = ALPHABET + ".=+/ \n\x00é"
    accepted = []
    for number in range(100_000):
        mutated = list(TOKEN)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            place = chance.randrange(len(mutated))
            match number % 4:
                case 0 | 1:
                    mutated[place] = chance.choice(letters)
                case 2:
                    mutated.insert(place, chance.choice(letters))
                case _:
                    other = chance.randrange(len(mutated))
                    mutated[place], mutated[other] = mutated[other], mutated[place]
        token = "".join(mutated)
        if token == TOKEN:
            continue
        with suppress(BadToken):
            accepted.append(read(token))
    assert not accepted


def test_what_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(BadToken, match="not a token"):
        read("a" * (MAX_TOKEN_CHARS + 1))


@given(st.text(max_size=200))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with pytest.raises(BadToken):
        read(text)
    with pytest.raises(BadToken):
        read(f"{TOKEN.split('.')[0]}.{text}")


@pytest.mark.parametrize("kid", ["", 'a"', "k" * 33, "a b", "ü"])
def test_an_id_of_a_key_fits_into_a_header(kid: str) -> None:
    with pytest.raises(ValueError, match="id"):
        SigningKey(kid, SEED)
