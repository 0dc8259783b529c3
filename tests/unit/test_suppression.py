"""What suppresses an address, for how long, and which of two reasons stays."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kannon.core.addresses import EmailAddress, canonical
from kannon.core.batches import Outcome
from kannon.core.deliveries import DeliveryId
from kannon.core.suppression import (
    Happening,
    Reason,
    Source,
    Suppression,
    SuppressionRules,
    decide,
    happening_of,
    merged,
    merged_by_address,
)
from tests.mail import DOMAIN, NOW

RULES = SuppressionRules()
DAY = timedelta(days=1)
A_YEAR = NOW + 365 * DAY
A_MONTH = NOW + 30 * DAY
NOTHING = "nothing"


def happening(reason: Reason) -> Happening:
    return Happening(reason, DOMAIN, "ada@example.org", NOW, Source.TRANSMISSION, DeliveryId(7, 1))


def suppression(reason: Reason = Reason.HARD_BOUNCE, days: int | None = 10, **changes: Any) -> Suppression:
    made = Suppression(
        DOMAIN, "ada@example.org", reason, Source.OPERATOR, NOW, None if days is None else NOW + days * DAY
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("reason", "rules", "soft_bounces", "expires_at"),
    [
        (Reason.COMPLAINT, RULES, 0, None),
        (Reason.UNSUBSCRIBE, RULES, 0, None),
        (Reason.MANUAL, RULES, 0, None),
        (Reason.HARD_BOUNCE, RULES, 0, A_YEAR),
        (Reason.SOFT_BOUNCE, RULES, 0, NOTHING),
        (Reason.SOFT_BOUNCE, RULES, 4, NOTHING),
        (Reason.SOFT_BOUNCE, RULES, 5, A_MONTH),
        (Reason.SOFT_BOUNCE, RULES, 6, A_MONTH),
        (Reason.SOFT_BOUNCE, SuppressionRules(soft_after=0), 1000, NOTHING),
        (Reason.SOFT_BOUNCE, SuppressionRules(soft_after=1, soft=None), 1, None),
        (Reason.HARD_BOUNCE, SuppressionRules(hard=None), 0, None),
        (Reason.COMPLAINT, SuppressionRules(complaint=30 * DAY), 0, A_MONTH),
        (Reason.UNSUBSCRIBE, SuppressionRules(unsubscribe=30 * DAY), 0, A_MONTH),
        (Reason.HARD_BOUNCE, SuppressionRules(hard=timedelta.max), 0, None),
    ],
)
def test_what_happened_decides_whether_and_until_when(
    reason: Reason, rules: SuppressionRules, soft_bounces: int, expires_at: object
) -> None:
    decided = decide(happening(reason), rules, soft_bounces)
    assert (decided.expires_at if decided else NOTHING) == expires_at
    if decided:
        assert (decided.reason, decided.created_at, decided.address) == (reason, NOW, "ada@example.org")


STRONGEST_FIRST = [
    Reason.COMPLAINT,
    Reason.UNSUBSCRIBE,
    Reason.MANUAL,
    Reason.HARD_BOUNCE,
    Reason.SOFT_BOUNCE,
]


@pytest.mark.parametrize("order", ["stronger first", "weaker first"])
def test_the_stronger_reason_stays_whichever_comes_first_and_both_times_are_kept_to(order: str) -> None:
    assert list(Reason) == STRONGEST_FIRST
    for place, strong in enumerate(STRONGEST_FIRST):
        for weak in STRONGEST_FIRST[place + 1 :]:
            stronger, weaker = suppression(strong, 10, detail="strong"), suppression(weak, 20, detail="weak")
            pair = (stronger, weaker) if order == "stronger first" else (weaker, stronger)
            both = merged(*pair, NOW)
            assert (both.reason, both.detail, both.expires_at) == (strong, "strong", NOW + 20 * DAY)


def test_what_never_expires_goes_on_never_expiring() -> None:
    assert merged(suppression(days=None), suppression(Reason.COMPLAINT), NOW).expires_at is None
    assert merged(suppression(Reason.COMPLAINT), suppression(days=None), NOW).expires_at is None


def test_a_repeat_changes_nothing_and_another_of_the_kind_only_makes_it_longer() -> None:
    known = suppression(detail="the first")
    assert merged(known, known, NOW) == known
    later = suppression(days=12, detail="the second", created_at=NOW + 2 * DAY)
    assert merged(known, later, NOW) == replace(known, expires_at=NOW + 12 * DAY)


def test_what_has_expired_counts_for_nothing() -> None:
    new = suppression(Reason.SOFT_BOUNCE, 20)
    assert merged(suppression(Reason.COMPLAINT, 10), new, NOW + 10 * DAY) == new
    assert merged_by_address([suppression(days=1)], NOW + DAY) == []


def test_of_one_address_one_is_written_in_the_order_of_addresses() -> None:
    bea = suppression(address="bea@example.org")
    written = merged_by_address([bea, suppression(), suppression(Reason.COMPLAINT)], NOW)
    assert [(one.address, one.reason) for one in written] == [
        ("ada@example.org", Reason.COMPLAINT),
        ("bea@example.org", Reason.HARD_BOUNCE),
    ]


@pytest.mark.parametrize(
    ("reason", "is_ignored", "is_refused"),
    [(reason, False, True) for reason in Reason]
    + [(reason, True, reason is Reason.COMPLAINT) for reason in Reason],
)
def test_whoever_complained_is_not_sent_to_whatever_the_call_says(
    reason: Reason, is_ignored: bool, is_refused: bool
) -> None:
    assert reason.forbids(is_ignored) is is_refused


def outcome(kind: str = "bounced", **data: Any) -> Outcome:
    return Outcome(DeliveryId(7, 1), kind, 1, NOW, "Ada@Bücher.example", f"msg_7@{DOMAIN}", DOMAIN, data)


def test_a_hard_bounce_is_of_the_address_and_says_what_was_answered() -> None:
    found = happening_of(outcome(hard=True, code=550, enhanced="5.1.1", msg="no such user", category="any"))
    assert found == Happening(
        Reason.HARD_BOUNCE,
        DOMAIN,
        "ada@xn--bcher-kva.example",
        NOW,
        Source.TRANSMISSION,
        DeliveryId(7, 1),
        f"msg_7@{DOMAIN}",
        "550 5.1.1 no such user",
    )


@pytest.mark.parametrize("category", ["mailbox-full", "refused", "temporary", "connection", "greylisted"])
def test_other_bounces_are_soft(category: str) -> None:
    found = happening_of(outcome(hard=False, category=category))
    assert found
    assert found.reason is Reason.SOFT_BOUNCE


@pytest.mark.parametrize("category", ["policy", "too-large", "relay-denied", "rate-limited", "bad-sender"])
def test_what_is_said_of_the_sender_or_the_mail_is_not_held_against_the_address(category: str) -> None:
    assert happening_of(outcome(hard=False, category=category)) is None


def test_what_comes_back_later_is_told_by_a_report() -> None:
    late = happening_of(outcome(hard=True, late=True, category="bad-mailbox"))
    complained = happening_of(outcome("complained", category="abuse"))
    assert late
    assert complained
    assert (late.reason, late.source) == (Reason.HARD_BOUNCE, Source.REPORT)
    assert (complained.reason, complained.source) == (Reason.COMPLAINT, Source.REPORT)


@pytest.mark.parametrize("kind", ["delivered", "error", "failed", "accepted", "rejected"])
def test_nothing_else_is_a_bounce(kind: str) -> None:
    assert happening_of(outcome(kind, hard=True)) is None


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("ada@example.org", "ada@example.org"),
        ("Ada.LOVELACE@Example.ORG", "ada.lovelace@example.org"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("Ärger@bücher.example", "ärger@xn--bcher-kva.example"),
        ("ada+news@example.org", "ada+news@example.org"),
    ],
)
def test_an_address_has_one_form_however_it_is_written(written: str, form: str) -> None:
    address = EmailAddress.parse(written)
    assert (address.canonical, canonical(str(address))) == (form, form)
    assert EmailAddress.parse(form).canonical == form
