"""track against surroundings in memory: what is answered, and what is told of it to whom."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.track.answers import NOT_FOUND
from functions.track.tokens import LOOK_EVERY
from kannon.core.payloads import Act
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import SigningKey
from tests.mail import DOMAIN, NOW
from tests.tracking import (
    FIREFOX,
    HOST,
    KEY,
    ONE_CLICK,
    URL,
    Tracking,
    claims,
    header,
    path_of,
)

PSEUDONYM = f"a1b2c3@track.{DOMAIN}"
ALWAYS = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
    "set-cookie": "",
}


@pytest.fixture
def tracking() -> Tracking:
    return Tracking()


def said(audience: Audience, mode: Mode) -> Claims:
    """As dispatch mints them."""
    if mode is Mode.PSEUDONYMOUS:
        return claims(audience, mode, seq=None, pseudonym=PSEUDONYM)
    return claims(audience, mode, seq=3 if mode >= Mode.IDENTIFIED else None)


@pytest.mark.parametrize("mode", [Mode.ANONYMOUS, Mode.PSEUDONYMOUS, Mode.IDENTIFIED, Mode.FULL])
@pytest.mark.parametrize("audience", [Audience.OPEN, Audience.CLICK])
async def test_what_is_told_is_what_the_mode_allows(
    audience: Audience, mode: Mode, tracking: Tracking
) -> None:
    await tracking.ask(path_of(said(audience, mode)))
    (seen,) = await tracking.published()
    act = Act.OPENED if audience is Audience.OPEN else Act.CLICKED
    assert (seen.id, seen.act, seen.mode, seen.domain, seen.batch, seen.at) == (
        *("id0", act, mode, DOMAIN),
        *(7, NOW),
    )
    assert seen.seq == (3 if mode >= Mode.IDENTIFIED else None)
    assert seen.pseudonym == (PSEUDONYM if mode is Mode.PSEUDONYMOUS else "")
    assert (seen.ip, seen.user_agent) == (("192.0.2.1", FIREFOX) if mode is Mode.FULL else ("", ""))
    assert (seen.url, seen.machine) == (URL if audience is Audience.CLICK else "", "")


async def test_a_token_that_says_more_than_its_mode_allows_is_told_without_that(tracking: Tracking) -> None:
    for mode in (Mode.ANONYMOUS, Mode.PSEUDONYMOUS):
        await tracking.ask(path_of(claims(mode=mode, seq=3, pseudonym=PSEUDONYM)))
    assert [(one.seq, one.pseudonym) for one in await tracking.published()] == [
        (None, ""),
        (None, PSEUDONYM),
    ]


async def test_of_who_is_not_tracked_nothing_is_told_and_the_link_leads_on(tracking: Tracking) -> None:
    assert (await tracking.ask(path_of(claims(Audience.CLICK, Mode.OFF)))).status == 302
    assert await tracking.published() == []


@pytest.mark.parametrize("mode", [Mode.ANONYMOUS, Mode.IDENTIFIED])
async def test_a_machine_is_named_by_what_is_not_told(mode: Mode, tracking: Tracking) -> None:
    await tracking.ask(path_of(said(Audience.OPEN, mode)), headers={"user-agent": "Mozilla/5.0"})
    await tracking.ask(path_of(said(Audience.CLICK, mode)), headers={"sec-purpose": "prefetch;prerender"})
    assert [(one.machine, one.user_agent) for one in await tracking.published()] == [
        ("apple-mpp", ""),
        ("prefetch", ""),
    ]


async def test_a_pixel_is_a_gif_that_nobody_keeps(tracking: Tracking) -> None:
    answer = await tracking.ask(path_of(claims()))
    assert (answer.status, header(answer, "content-type")) == (200, "image/gif")
    assert answer.body[:6] == b"GIF89a"
    assert answer.body[6:10] == b"\x01\0\x01\0"
    assert answer.body[-1:] == b";"
    assert int(header(answer, "content-length")) == len(answer.body)
    assert "no-store" in header(answer, "cache-control")
    assert {name: header(answer, name) for name in ALWAYS} == ALWAYS


async def test_a_link_leads_to_where_it_was_signed_for(tracking: Tracking) -> None:
    answer = await tracking.ask(path_of(claims(Audience.CLICK)))
    assert (answer.status, header(answer, "location"), answer.body) == (302, URL, b"")
    assert "no-store" in header(answer, "cache-control")
    assert {name: header(answer, name) for name in ALWAYS} == ALWAYS


async def test_what_is_not_ascii_in_a_destination_is_percent_encoded(tracking: Tracking) -> None:
    answer = await tracking.ask(path_of(claims(Audience.CLICK, url="https://bücher.example/ä ?ö=%20#ü")))
    assert header(answer, "location") == "https://b%C3%BCcher.example/%C3%A4%20?%C3%B6=%20#%C3%BC"


async def test_a_destination_of_two_thousand_characters_works(tracking: Tracking) -> None:
    url = "https://shop.example.org/?" + "x" * 1974
    assert header(await tracking.ask(path_of(claims(Audience.CLICK, url=url))), "location") == url


@pytest.mark.parametrize("audience", [Audience.OPEN, Audience.CLICK])
async def test_head_is_answered_as_get_is_and_counts_for_nothing(
    audience: Audience, tracking: Tracking
) -> None:
    path = path_of(claims(audience))
    get, head = await tracking.ask(path), await tracking.ask(path, "HEAD")
    assert (head.status, head.head, head.body) == (get.status, get.head, b"")
    assert len(await tracking.published()) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("audience", [Audience.OPEN, Audience.CLICK])
async def test_other_methods_are_none(method: str, audience: Audience, tracking: Tracking) -> None:
    answer = await tracking.ask(path_of(claims(audience)), method)
    assert (answer.status, header(answer, "allow")) == (405, "GET, HEAD")
    assert await tracking.published() == []


def bad_paths() -> dict[str, str]:
    good = path_of(claims(Audience.CLICK))
    token = good.removeprefix("/c/")
    head, body, signature = token.split(".")
    return {
        "none": "/c/",
        "a slash more": f"{good}/",
        "cut": good[:-5],
        "another signature": f"/c/{head}.{body}.{'A' * len(signature)}",
        "unsigned": f"/c/{head}.{body}.",
        "for another use": f"/o/{token}",
        "an open one": path_of(claims()).replace("/o/", "/c/"),
        "of another key by its name": path_of(claims(Audience.CLICK), SigningKey(KEY.kid, b"t" * 32)),
        "of a key that there is not": path_of(claims(Audience.CLICK), SigningKey("other", b"s" * 32)),
        "of another Domain": path_of(claims(Audience.CLICK, domain="other.example")),
        "expired": path_of(claims(Audience.CLICK, now=NOW - timedelta(hours=1))),
        "a destination instead": "/c/https://evil.example/",
        "a way up": "/c/../../etc/passwd",
        "markup": "/c/<script>alert(1)</script>",
        "nowhere": "/",
        "another way": f"/x/{token}",
        "encoded": good.replace(".", "%2e"),
    }


@pytest.mark.parametrize("what", bad_paths())
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_bad_token_has_one_answer_whatever_is_bad_about_it(
    what: str, method: str, tracking: Tracking
) -> None:
    answer = await tracking.ask(bad_paths()[what], method)
    assert (answer.status, answer.head) == (404, NOT_FOUND.head)
    assert answer.body == (NOT_FOUND.body if method == "GET" else b"")
    assert await tracking.published() == []


@pytest.mark.parametrize(
    "host",
    [
        DOMAIN,
        f"x.stats.{DOMAIN}",
        "stats.other.example",
        f"{HOST}:x",
        f"{HOST},evil.example",
        "",
        "127.0.0.1",
    ],
)
async def test_a_token_counts_on_the_host_of_its_domain_alone(host: str, tracking: Tracking) -> None:
    assert (await tracking.ask(path_of(claims(Audience.CLICK)), host=host)).status == 404
    assert await tracking.published() == []


@pytest.mark.parametrize("host", [HOST, HOST.upper(), f"{HOST}:8080"])
async def test_a_host_is_the_same_in_any_case_and_at_any_port(host: str, tracking: Tracking) -> None:
    assert (await tracking.ask(path_of(claims(Audience.CLICK)), host=host)).status == 302


async def test_two_domains_do_not_lend_each_other_their_names(tracking: Tracking) -> None:
    path = path_of(claims(Audience.CLICK, domain="other.example"))
    assert (await tracking.ask(path, host="stats.other.example")).status == 302
    assert (await tracking.ask(path, host=HOST)).status == 404
    assert [one.domain for one in await tracking.published()] == ["other.example"]


async def test_the_clients_address_is_taken_from_proxies_that_are_trusted() -> None:
    tracking = Tracking("10.0.0.0/8")
    forwarded = {"x-forwarded-for": "198.51.100.7, 203.0.113.9, 10.0.0.2"}
    path = path_of(claims(mode=Mode.FULL))
    await tracking.ask(path, peer="10.0.0.1", headers=forwarded)
    await tracking.ask(path, peer="192.0.2.1", headers=forwarded)
    assert [one.ip for one in await tracking.published()] == ["203.0.113.9", "192.0.2.1"]


async def test_a_user_agent_is_cut_and_has_no_controls(tracking: Tracking) -> None:
    await tracking.ask(path_of(claims(mode=Mode.FULL)), headers={"user-agent": "a\x00\x1fb\x85" + "c" * 900})
    (seen,) = await tracking.published()
    assert seen.user_agent == "a b " + "c" * 508


async def test_links_of_a_mail_that_are_followed_at_once_are_a_machines(tracking: Tracking) -> None:
    for number in range(3):
        await tracking.ask(path_of(claims(Audience.CLICK, url=f"https://shop.example.org/{number}")))
    await tracking.ask(path_of(claims(Audience.CLICK, seq=1)))
    assert [one.machine for one in await tracking.published()] == ["burst", "burst", "burst", ""]


async def test_anonymous_readers_are_told_apart_by_where_they_are(tracking: Tracking) -> None:
    for peer, number in (("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.1", 3)):
        said = claims(Audience.CLICK, Mode.ANONYMOUS, None, f"https://shop.example.org/{number}")
        await tracking.ask(path_of(said), peer=peer)
    seen = {one.url[-1]: one.machine for one in await tracking.published()}
    assert seen == {"1": "burst", "2": "", "3": "burst"}


async def test_who_comes_by_another_host_learns_how_the_process_does(tracking: Tracking) -> None:
    for path in ("/", "/_/health", "/_/ready"):
        answer = await tracking.ask(path, host="127.0.0.1:8080")
        assert (answer.status, json.loads(answer.body)) == (200, {})
        assert (await tracking.ask(path)).status == 404


# keys


async def test_a_key_that_is_not_known_yet_is_looked_for_now_and_then(tracking: Tracking) -> None:
    new = SigningKey("new", b"n" * 32)
    await tracking.ask(path_of(claims()))
    assert (await tracking.ask(path_of(claims(), new))).status == 404
    assert tracking.keys.looks == 1, "anybody can write a token with a key that there is not"
    assert LOOK_EVERY > 1


async def test_many_who_wait_for_a_key_wait_for_one_look(tracking: Tracking) -> None:
    answers = await asyncio.gather(*(tracking.ask(path_of(claims())) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert tracking.keys.looks == 1


async def test_while_keys_cannot_be_looked_for_nobody_is_sent_anywhere(tracking: Tracking) -> None:
    tracking.keys.away = True
    answer = await tracking.ask(path_of(claims(Audience.CLICK)))
    assert (answer.status, header(answer, "retry-after"), header(answer, "location")) == (503, "5", "")


async def test_keys_that_are_known_do_while_others_cannot_be_looked_for(tracking: Tracking) -> None:
    await tracking.ask(path_of(claims()))
    tracking.keys.away = True
    assert (await tracking.ask(path_of(claims(Audience.CLICK)))).status == 302


# unsubscribing


async def test_to_look_at_the_page_unsubscribes_nobody(tracking: Tracking) -> None:
    path = path_of(claims(Audience.UNSUBSCRIBE))
    page, head = await tracking.ask(path), await tracking.ask(path, "HEAD")
    assert (page.status, header(page, "content-type")) == (200, "text/html; charset=utf-8")
    assert (head.status, head.head, head.body) == (page.status, page.head, b"")
    assert await tracking.published() == []


async def test_the_page_names_the_sender_and_has_a_button_and_no_script(tracking: Tracking) -> None:
    page = await tracking.ask(path_of(claims(Audience.UNSUBSCRIBE)))
    html, policy = page.body.decode(), header(page, "content-security-policy")
    for wanted in ('lang="en"', "<title>", "<h1>", "<main>", DOMAIN, '<form method="post">', "<button"):
        assert wanted in html
    assert "script" not in html
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert header(page, "x-frame-options") == "DENY"
    assert {name: header(page, name) for name in ALWAYS} == ALWAYS


async def test_what_a_page_names_is_escaped(tracking: Tracking) -> None:
    evil = "<b>&.example"
    page = await tracking.ask(path_of(claims(Audience.UNSUBSCRIBE, domain=evil)), host=f"stats.{evil}")
    assert "&lt;b&gt;&amp;.example" in page.body.decode()
    assert "<b>" not in page.body.decode()


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'


@pytest.mark.parametrize("body", [ONE_CLICK, MULTIPART], ids=["urlencoded", "multipart"])
async def test_a_post_unsubscribes_before_it_is_answered(body: bytes, tracking: Tracking) -> None:
    answer = await tracking.ask(path_of(claims(Audience.UNSUBSCRIBE, seq=3)), "POST", body=body)
    assert (answer.status, len(tracking.publisher.payloads)) == (200, 1)
    assert "unsubscribed" in answer.body.decode()
    (seen,) = await tracking.published()
    assert (seen.act, seen.batch, seen.seq, seen.domain, seen.at) == (Act.UNSUBSCRIBED, 7, 3, DOMAIN, NOW)
    assert (seen.ip, seen.user_agent, seen.url, seen.machine) == ("", "", "", "")


@pytest.mark.parametrize("body", [b"", b"x=y", b"List-Unsubscribe=No"])
async def test_a_post_that_does_not_say_what_it_wants_changes_nothing(
    body: bytes, tracking: Tracking
) -> None:
    answer = await tracking.ask(path_of(claims(Audience.UNSUBSCRIBE)), "POST", body=body)
    assert (answer.status, await tracking.published()) == (400, [])


async def test_while_nats_is_away_nobody_is_told_to_be_unsubscribed(tracking: Tracking) -> None:
    tracking.publisher.away = True
    path = path_of(claims(Audience.UNSUBSCRIBE))
    answer = await tracking.ask(path, "POST", body=ONE_CLICK)
    assert (answer.status, header(answer, "retry-after")) == (503, "5")
    assert "not unsubscribed yet" in answer.body.decode()
    tracking.publisher.away = False
    assert (await tracking.ask(path, "POST", body=ONE_CLICK)).status == 200
    assert len(await tracking.published()) == 1


async def test_who_presses_the_button_for_ever_fills_no_stream(tracking: Tracking) -> None:
    path = path_of(claims(Audience.UNSUBSCRIBE))
    for _ in range(50):
        assert (await tracking.ask(path, "POST", body=ONE_CLICK)).status == 200
    tracking.now += timedelta(seconds=11)
    await tracking.ask(path, "POST", body=ONE_CLICK)
    assert len(await tracking.published()) == 2


async def test_a_token_without_a_recipient_unsubscribes_nobody(tracking: Tracking) -> None:
    path = path_of(replace(claims(Audience.UNSUBSCRIBE), seq=None))
    for method in ("GET", "POST"):
        assert (await tracking.ask(path, method, body=ONE_CLICK)).status == 404


async def test_a_token_for_opening_unsubscribes_nobody(tracking: Tracking) -> None:
    path = path_of(claims()).replace("/o/", "/u/")
    assert (await tracking.ask(path, "POST", body=ONE_CLICK)).status == 404
    assert await tracking.published() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
async def test_other_methods_do_not_unsubscribe(method: str, tracking: Tracking) -> None:
    answer = await tracking.ask(path_of(claims(Audience.UNSUBSCRIBE)), method, body=ONE_CLICK)
    assert (answer.status, header(answer, "allow")) == (405, "GET, HEAD, POST")
