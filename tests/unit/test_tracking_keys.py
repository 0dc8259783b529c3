"""Keys of tracking tokens: which signs what, and that dispatch has them at hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from functions.dispatch.signing import READ_AGAIN_AFTER, TokenSigner
from kannon.core.errors import LedgerUnavailable
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.keys import (
    KEY_LIFE,
    KNOWN_WITHIN,
    MADE_AHEAD,
    TOKEN_LIFE,
    DatedKey,
    KeyRing,
    Span,
    next_span,
)
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import TokenReader
from tests.fakes_tracking_keys import FakeTrackingKeys
from tests.mail import NOW

SECOND = timedelta(seconds=1)


def claims(of: datetime, domain: str = "example.com") -> Claims:
    """What the pixel of a mail of that time says."""
    return Claims(Audience.OPEN, domain, Mode.ANONYMOUS, 42, int((of + TOKEN_LIFE).timestamp()))


def ring(*starts: datetime) -> KeyRing:
    return KeyRing([DatedKey(f"k{n}", bytes([n] * 32), start) for n, start in enumerate(starts)])


async def signer_of(keys: FakeTrackingKeys, now: datetime = NOW) -> TokenSigner:
    signer = TokenSigner(keys, lambda: now)
    await signer.ready()
    return signer


def test_spans_follow_one_another_without_a_gap() -> None:
    span = next_span(None, NOW)
    assert span == Span(NOW, NOW + KEY_LIFE)
    for _ in range(12):
        assert next_span(span, span.end - MADE_AHEAD - SECOND) is None
        following = next_span(span, span.end - MADE_AHEAD)
        assert following == Span(span.end, span.end + KEY_LIFE)
        span = following


def test_a_late_one_does_not_sign_before_all_have_it() -> None:
    last = Span(NOW - KEY_LIFE, NOW)
    assert next_span(last, NOW) == Span(NOW + KNOWN_WITHIN, NOW + KNOWN_WITHIN + KEY_LIFE)
    assert KNOWN_WITHIN < MADE_AHEAD, "else one made in time would not be known in time"


def test_the_key_is_that_of_the_mails_time_and_not_of_the_present() -> None:
    two, one = ring(NOW, NOW + KEY_LIFE), ring(NOW)
    before = claims(NOW + KEY_LIFE - SECOND)
    assert two.mint(before) == one.mint(before), "so an old mail that is built again has its old tokens"
    after = claims(NOW + KEY_LIFE)
    assert two.mint(after) != one.mint(after)


def test_what_is_older_than_all_keys_is_signed_by_the_oldest() -> None:
    old = claims(NOW - timedelta(days=50))
    assert ring(NOW, NOW + KEY_LIFE).mint(old) == ring(NOW).mint(old)


def test_the_order_in_which_keys_come_does_not_matter() -> None:
    keys = [DatedKey(f"k{n}", bytes([n] * 32), NOW + n * KEY_LIFE) for n in range(3)]
    for mail in (NOW, NOW + KEY_LIFE, NOW + 2 * KEY_LIFE):
        assert KeyRing(keys).mint(claims(mail)) == KeyRing(keys[::-1]).mint(claims(mail))


async def test_all_processes_make_the_same_tokens() -> None:
    keys = FakeTrackingKeys()
    first = await signer_of(keys)
    token = first.mint(claims(NOW))
    await keys.rotate(NOW + KEY_LIFE - MADE_AHEAD)
    later = await signer_of(keys, NOW + KEY_LIFE + timedelta(days=2))
    assert later.mint(claims(NOW)) == token, "in a retry, by another process, after a rotation"


async def test_a_key_lives_as_long_as_its_tokens() -> None:
    keys = FakeTrackingKeys()
    now, tokens = NOW, []
    for _ in range(100):
        signer = await signer_of(keys, now)
        await signer.rotate()
        tokens.append((now + TOKEN_LIFE - SECOND, signer.mint(claims(now))))
        reader = TokenReader(await keys.public_keys())
        for until, token in tokens:
            if now <= until:
                assert reader.read(token, Audience.OPEN, "stats.example.com", now).batch == 42
        now += timedelta(days=3, hours=5)
    assert len(keys.kept) <= 6, "and no longer"


async def test_the_first_key_is_made_when_it_is_needed() -> None:
    keys = FakeTrackingKeys()
    await signer_of(keys)
    await signer_of(keys)
    assert len(keys.kept) == 1


async def test_keys_are_not_read_for_every_event() -> None:
    keys = FakeTrackingKeys()
    await keys.rotate(NOW)
    moments = [NOW, NOW + READ_AGAIN_AFTER - SECOND, NOW + READ_AGAIN_AFTER, NOW - SECOND]
    looks = []
    times = iter(moments)
    signer = TokenSigner(keys, lambda: next(times))
    for _ in moments:
        await signer.ready()
        looks.append(keys.looks)
    assert looks == [1, 1, 2, 3], "and again when the clock went back"


async def test_nothing_is_signed_by_keys_that_may_be_outdated() -> None:
    keys = FakeTrackingKeys()
    now = NOW
    signer = TokenSigner(keys, lambda: now)
    await signer.ready()
    keys.away = True
    await signer.ready()
    now += READ_AGAIN_AFTER
    with pytest.raises(LedgerUnavailable):
        await signer.ready()


async def test_whoever_read_last_time_has_each_key_before_it_signs() -> None:
    """However late it is made."""
    keys = FakeTrackingKeys()
    reader = await signer_of(keys, NOW)
    made_at = NOW + KEY_LIFE * 3
    stale = TokenSigner(keys, lambda: made_at - SECOND)
    await stale.ready()
    await keys.rotate(made_at)
    fresh = await signer_of(keys, made_at)
    until_it_reads_again = made_at - SECOND + READ_AGAIN_AFTER
    for mail in every_ten_minutes(made_at - timedelta(days=1), until_it_reads_again):
        assert stale.mint(claims(mail)) == fresh.mint(claims(mail)) == reader.mint(claims(mail))


def every_ten_minutes(start: datetime, end: datetime) -> Sequence[datetime]:
    return [start + timedelta(minutes=10) * n for n in range((end - start) // timedelta(minutes=10))]
