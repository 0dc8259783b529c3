"""Exchangers that reset, wait, put off, crawl, and cannot do TLS."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import trustme

from faults.certificates import server_context
from faults.invariants import Evidence
from faults.sink import Behaviour, Exchanger
from faults.system import DOMAINS, RETRY_BASE, RETRY_MIN, SCALE, until
from faults.trial import MANY, Case, Trial

_RESETTING, _QUITTING, _STORMY, _GREY = DOMAINS[0], DOMAINS[1], DOMAINS[2], DOMAINS[3]
_NO_TLS: Final = DOMAINS[10:13]
_CRAWLING, _BRISK = DOMAINS[7:10], DOMAINS[:7]
SLOW_250: Final = 400.0
"""Seconds until the reply to the dot, before they are scaled."""
REFUSALS: Final = 3
GREY_SECONDS: Final = 1.2
_SLOW: Final = DOMAINS[:7]
_EACH: Final = 40


async def _resets_after_each_dot(trial: Trial) -> None:
    _exchanger(trial, _RESETTING).behave = lambda _recipient, _tries: Behaviour(after_dot="reset")
    await trial.send(MANY, [_RESETTING])
    trial.healed()


def _two_copies_then_unconfirmed(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("failed") == found.accepted, "not all have failed")
    reasons = Counter(row.reason for row in found.outcomes if row.type == "failed")
    trial.demand(set(reasons) == {"unconfirmed"}, f"the reasons are {dict(reasons)}")
    trial.demand(set(found.copies.values()) == {2}, "not each was transmitted twice")


async def _replies_after_minutes(trial: Trial) -> None:
    for domain in _SLOW:
        _exchanger(trial, domain).behave = lambda _recipient, _tries: Behaviour(delay=SLOW_250 * SCALE)
    await trial.send(MANY)
    await trial.send(2 * len(_SLOW), _SLOW)
    trial.healed()


async def _resets_at_quit(trial: Trial) -> None:
    exchanger = _exchanger(trial, _QUITTING)
    exchanger.resets_at_quit = True
    before = exchanger.quits
    await trial.send(MANY, [_QUITTING])
    trial.healed()
    await until(lambda: exchanger.quits > before, 20, "a session is left with QUIT")


async def _storm_and_greylisting(trial: Trial) -> None:
    stormy, grey = _exchanger(trial, _STORMY), _exchanger(trial, _GREY)
    first_seen: dict[str, float] = {}

    def refuse_often(_recipient: str, tries: int) -> Behaviour:
        return Behaviour(rcpt="451 4.3.2 not now") if tries <= REFUSALS else Behaviour()

    def greylist(recipient: str, _tries: int) -> Behaviour:
        since = first_seen.setdefault(recipient, time.monotonic())
        early = time.monotonic() - since < GREY_SECONDS
        return Behaviour(rcpt="450 4.2.0 greylisted, come back later") if early else Behaviour()

    stormy.behave, grey.behave = refuse_often, greylist
    await trial.send(MANY, [_STORMY, _GREY])
    trial.healed()


def _bounded_and_spaced(trial: Trial, found: Evidence) -> None:
    _delivered_once(trial, found)
    for domain, most, least_wait in ((_STORMY, REFUSALS + 1, RETRY_MIN), (_GREY, 6, RETRY_BASE)):
        ours = set(trial.tenant.recipients)
        tried = [times for who, times in _exchanger(trial, domain).tried_at.items() if who in ours]
        tries = max(map(len, tried), default=0)
        trial.demand(1 < tries <= most, f"{domain}: a recipient was tried {tries} times, of {most}")
        waits = [later - earlier for times in tried for earlier, later in pairwise(times)]
        shortest = min(waits, default=0.0)
        trial.demand(shortest >= 0.9 * least_wait, f"{domain}: tried again after {shortest:.2f} s")
        trial.notes.append(f"{domain}: at most {tries} tries, {shortest:.2f} s apart at the least")


async def _some_crawl(trial: Trial) -> None:
    for domain in (*_BRISK, *_CRAWLING):
        _exchanger(trial, domain).behave = lambda _recipient, _tries: Behaviour(delay=0.05)
    alone = await _seconds_for_the_brisk(trial, list(_BRISK), len(_BRISK) * _EACH)
    for domain in _CRAWLING:
        _exchanger(trial, domain).seconds_a_byte = 1.0
    domains = [*_BRISK, *_CRAWLING]
    beside = await _seconds_for_the_brisk(trial, domains, len(domains) * _EACH)
    trial.notes.append(f"the others took {alone:.1f} s alone, {beside:.1f} s beside them")
    trial.demand(beside <= 2 * alone + 0.5, "the others have less than half of their rate")
    for domain in _CRAWLING:
        _exchanger(trial, domain).seconds_a_byte = 0.0
    trial.healed()


async def _seconds_for_the_brisk(trial: Trial, domains: list[str], count: int) -> float:
    before, brisk = _brisk_copies(trial), len(_BRISK) * _EACH
    began = time.monotonic()
    await trial.send(count, domains)
    await until(lambda: _brisk_copies(trial) >= before + brisk, 60, "the brisk exchangers have theirs")
    return time.monotonic() - began


def _brisk_copies(trial: Trial) -> int:
    return sum(copy.domain == trial.tenant.domain and copy.exchanger in _BRISK for copy in trial.sink.copies)


async def _tls_goes_wrong(trial: Trial) -> None:
    half_open, refused, expired = (_exchanger(trial, domain) for domain in _NO_TLS)
    half_open.starttls = "half-open"
    refused.starttls = "refused"
    ended = datetime.now(UTC) - timedelta(days=1)
    expired.tls = server_context(trustme.CA(), expired.host, ended)
    await trial.send(MANY, _NO_TLS)
    trial.healed()


def _encrypted_where_possible(trial: Trial, found: Evidence) -> None:
    _delivered_once(trial, found)
    ours = [copy for copy in trial.sink.copies if copy.domain == trial.tenant.domain]
    encrypted = {domain: {copy.tls for copy in ours if copy.exchanger == domain} for domain in _NO_TLS}
    expected = dict(zip(_NO_TLS, ({False}, {False}, {True}), strict=True))
    trial.demand(encrypted == expected, f"encrypted: {encrypted}")


def _delivered_once(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")
    trial.demand(found.extra == 0, f"{found.extra} extra copies, there must be none")


def _exchanger(trial: Trial, domain: str) -> Exchanger:
    return trial.sink.exchangers[domain]


CASES: Final = (
    Case(
        "19",
        "the exchanger resets after every dot",
        "two copies, then failed: unconfirmed",
        _resets_after_each_dot,
        _two_copies_then_unconfirmed,
    ),
    Case(
        "20",
        f"250 only after {SLOW_250:g} s (scaled to {SLOW_250 * SCALE:g})",
        "one copy",
        _replies_after_minutes,
        _delivered_once,
    ),
    Case("21", "reset at QUIT", "one copy", _resets_at_quit, _delivered_once),
    Case(
        "22",
        "every recipient put off three times, or greylisted",
        "retries bounded and spaced",
        _storm_and_greylisting,
        _bounded_and_spaced,
    ),
    Case(
        "23",
        "three of ten exchangers read one byte a second",
        "the others keep half their rate at least",
        _some_crawl,
        _delivered_once,
    ),
    Case(
        "24",
        "TLS half-open; STARTTLS refused; a certificate that expired",
        "one copy, encrypted where that is possible",
        _tls_goes_wrong,
        _encrypted_where_possible,
    ),
)
