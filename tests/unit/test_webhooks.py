"""Webhooks: URLs, signatures, waits and the health of endpoints, without any I/O."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier

from kannon.core.errors import BadInput
from kannon.core.exchangers import parse_networks
from kannon.core.webhooks import (
    BUDGET,
    TROUBLED_FROM,
    Endpoint,
    Health,
    PostResult,
    State,
    check_endpoint,
    health_after,
    may_post,
    next_try_at,
    signed_headers,
    written_secret,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
GOOD, BAD = PostResult(204, SECOND / 10), PostResult(500, SECOND / 10)
NEW = Health.of_new(NOW)


@pytest.mark.parametrize(
    ("url", "endpoint", "authority"),
    [
        ("https://a.test", Endpoint(True, "a.test", 443, "/"), "a.test"),
        ("https://A.Test./x?y=z", Endpoint(True, "a.test", 443, "/x?y=z"), "a.test"),
        ("http://a.test:8080/", Endpoint(False, "a.test", 8080, "/"), "a.test:8080"),
        ("https://[2001:DB8::1]:8443/", Endpoint(True, "2001:db8::1", 8443, "/"), "[2001:db8::1]:8443"),
        ("http://a.test:80/%2e?", Endpoint(False, "a.test", 80, "/%2e"), "a.test"),
    ],
)
def test_a_url_says_where_to_post(url: str, endpoint: Endpoint, authority: str) -> None:
    assert Endpoint.parse(url) == endpoint
    assert endpoint.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.test", "//a.test/", "ftp://a.test/", "file:///etc/passwd", "https://", "https:///x"),
        *("https://user@a.test/", "https://user:secret@a.test/", "https://@a.test/", "https://a.test/#x"),
        *("https://a.test:0/", "https://a.test:99999/", "https://a.test:x/", "https://[::1/", "https://."),
        *("https://a.test/ x", "https://a.test/\r\nhost: b", "https://ä.test/", "https://a.test/\x7f"),
        *(
            "https://[fe80::1%25eth0]/",
            "https://a%00.test/",
            "https://a.test/" + "x" * 2000,
            "https://a\tb.test/",
        ),
    ],
)
def test_what_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"^url: "):
        Endpoint.parse(url)


@given(st.text())
def test_any_text_is_an_endpoint_or_refused_and_writes_no_line_of_its_own(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except BadInput:
        return
    assert (endpoint.target + endpoint.authority).isprintable()
    assert " " not in endpoint.target + endpoint.authority


@pytest.mark.parametrize(
    ("url", "allowed", "good"),
    [
        ("https://a.test/", "", True),
        ("https://93.184.215.14/", "", True),
        ("http://a.test/", "", False),
        ("https://127.0.0.1/", "", False),
        ("https://[::ffff:10.0.0.1]/", "", False),
        ("https://localhost/", "", False),
        ("https://127.0.0.1/", "127.0.0.0/8", True),
        ("http://127.0.0.1/", "127.0.0.0/8", True),
        ("http://127.0.0.1/", "10.0.0.0/8", False),
        ("http://93.184.215.14/", "10.0.0.0/8", False),
        ("http://service.namespace/", "10.0.0.0/8", True),
    ],
)
def test_what_could_never_be_posted_to_is_refused_at_once(url: str, allowed: str, good: bool) -> None:
    endpoint = Endpoint.parse(url)
    with contextlib.nullcontext() if good else pytest.raises(BadInput, match=r"^url: must "):
        check_endpoint(endpoint, parse_networks(allowed))


def test_plain_http_goes_to_allowed_networks_alone() -> None:
    allowed = parse_networks("10.0.0.0/8")
    plain, secure = Endpoint.parse("http://a.test/"), Endpoint.parse("https://a.test/")
    assert [may_post(plain, at, allowed) for at in ("10.0.0.1", "93.184.215.14", "::1")] == [
        True,
        False,
        False,
    ]
    assert [may_post(secure, at, allowed) for at in ("10.0.0.1", "93.184.215.14", "::1")] == [
        True,
        True,
        False,
    ]


def test_each_secret_signs() -> None:
    now, secrets = datetime.now(UTC), (b"n" * 32, b"o" * 32)
    headers = dict(signed_headers("id", now, '{"a": "ä"}', secrets))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in secrets:
        assert Verifier(written_secret(secret)).verify('{"a": "ä"}', headers) == {"a": "ä"}


def test_waits_grow_and_end_with_the_budget() -> None:
    now, waits, give_up_at = NOW, [], NOW + BUDGET
    for attempts in range(1, 100):
        due_at = next_try_at(attempts, BAD, now, give_up_at, 1.0)
        if due_at is None:
            break
        waits.append(round((due_at - now).total_seconds()))
        now = due_at
    assert waits == [5, 15, 45, 135, 405, 1215, 3645, 10935, 14400, 14400, 14400, 14400]
    assert next_try_at(1, BAD, NOW, give_up_at, 0.0) == NOW + 2.5 * SECOND
    assert next_try_at(10**6, BAD, NOW, give_up_at, 1.0) is not None


def test_an_endpoint_that_asks_for_time_gets_it_within_bounds() -> None:
    asked = replace(BAD, retry_after=90 * SECOND)
    assert next_try_at(1, asked, NOW, NOW + BUDGET, 1.0) == NOW + 90 * SECOND
    assert health_after(NEW, asked, NOW, DAY, 1.0).rest_until == NOW + 90 * SECOND
    greedy = replace(BAD, retry_after=DAY)
    assert next_try_at(1, greedy, NOW, NOW + BUDGET, 1.0) == NOW + timedelta(hours=1)


def test_rests_grow_with_failures_and_end_with_a_success() -> None:
    health, rests = NEW, []
    for _ in range(18):
        health = health_after(health, BAD, NOW, DAY, 1.0)
        rests.append((health.rest_until - NOW).total_seconds())
    assert rests[: TROUBLED_FROM - 1] == [0] * (TROUBLED_FROM - 1)
    assert rests[TROUBLED_FROM - 1 :] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300, 300]
    assert (health.state, health.failures, health.failing_since) == (State.FAILING, 18, NOW)
    well = health_after(health, GOOD, NOW + DAY, DAY, 1.0)
    assert (well.state, well.failures, well.failing_since) == (State.ACTIVE, 0, None)


def test_who_fails_for_long_enough_is_suspended_and_a_single_failure_of_long_ago_is_not_that() -> None:
    failing = health_after(NEW, BAD, NOW, DAY, 0.0)
    assert health_after(failing, BAD, NOW + DAY - SECOND, DAY, 0.0).state is State.FAILING
    suspended = health_after(failing, BAD, NOW + DAY, DAY, 0.0)
    assert (suspended.state, suspended.suspended_for) == (State.SUSPENDED, "failing")
    again = health_after(suspended, BAD, NOW + 2 * DAY, DAY, 0.0)
    assert again.suspended_at == NOW + DAY
    well = health_after(failing, GOOD, NOW + SECOND, DAY, 0.0)
    assert health_after(well, BAD, NOW + 2 * DAY, DAY, 0.0).state is State.FAILING


def test_gone_is_gone() -> None:
    gone = health_after(NEW, PostResult(410, SECOND), NOW, DAY, 0.0)
    assert (gone.state, gone.suspended_for) == (State.SUSPENDED, "gone")


def test_slow_is_what_takes_two_seconds() -> None:
    assert health_after(NEW, PostResult(200, 2 * SECOND), NOW, DAY, 0.0).is_slow
    assert not health_after(replace(NEW, is_slow=True), GOOD, NOW, DAY, 0.0).is_slow


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (GOOD, ""),
        (BAD, "refused"),
        (PostResult(302, SECOND), "redirect"),
        (PostResult(0, SECOND, "timed_out"), "timed_out"),
    ],
)
def test_a_failure_has_a_reason(answer: PostResult, reason: str) -> None:
    assert answer.reason == reason
