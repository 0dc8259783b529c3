"""Whom a report is about: only what is signed names a Delivery, and addresses are but a check."""

from datetime import timedelta

import pytest

from kannon.core.deliveries import DeliveryId
from kannon.core.reports.attribution import MAX_TRIED, signed_delivery, told_of
from kannon.core.reports.values import Action
from tests.mail import DOMAIN, NOW
from tests.reports import KEYS, complaint, failed, return_path

OURS = return_path(seq=3)
FORGED = return_path(seq=3, key=b"x" * 32)


@pytest.mark.parametrize(
    "message",
    [
        complaint(f"Original-Mail-From: <{OURS}>"),
        complaint(original=f"Return-Path: <{OURS}>\r\n"),
        complaint(original=f"Return-Path: <{OURS.upper()}>\r\n"),
        complaint(original=f"Received: from a by b\r\n\t(envelope-from <{OURS}>) for c\r\n"),
        complaint(f"Original-Mail-From: <{FORGED}>", original=f"Return-Path: <{OURS}>\r\n"),
    ],
    ids=["field of the report", "return path", "in capitals", "folded trace", "behind a forged one"],
)
def test_a_complaint_names_its_delivery_by_a_signed_return_path(message: bytes) -> None:
    assert signed_delivery(message, KEYS, NOW) == DeliveryId(7, 3)


@pytest.mark.parametrize(
    "message",
    [
        complaint(original=f"Message-ID: <7.3@{DOMAIN}>\r\n"),
        complaint(f"Original-Mail-From: <{FORGED}>"),
        complaint(original=f"Return-Path: <{OURS.replace(DOMAIN, 'other.example')}>\r\n"),
        complaint(original=f"Return-Path: <{return_path(3, expires_at=NOW - timedelta(days=2))}>\r\n"),
        complaint(original=f"Return-Path: <{OURS[:30]}>\r\n"),
        complaint(original=f"Return-Path: <{FORGED}>\r\n" * MAX_TRIED + f"Return-Path: <{OURS}>\r\n"),
        b"",
    ],
    ids=["Message-ID", "forged", "other domain", "expired", "cut off", "behind too many", "nothing"],
)
def test_what_is_not_signed_names_nobody(message: bytes) -> None:
    assert signed_delivery(message, KEYS, NOW) is None


def test_what_the_mail_itself_quotes_names_nobody() -> None:
    quoting = complaint().replace(b"Buy.", f"Return-Path: <{OURS}>".encode())
    assert signed_delivery(quoting, KEYS, NOW) is None


@pytest.mark.parametrize("written", ["ada@example.org", "ADA@Example.ORG"])
def test_the_recipient_that_matches_is_taken_whatever_befell_others(written: str) -> None:
    told = [failed("bob@example.org", hard=True), failed(written, hard=False)]
    assert told_of("Ada@example.org", told) == told[1]


def test_a_domain_may_be_written_in_a_labels() -> None:
    told = [failed("bob@example.org"), failed("ada@xn--bcher-kva.example")]
    assert told_of("ada@bücher.example", told) == told[1]


def test_mail_that_was_forwarded_failed_for_its_recipient() -> None:
    told = failed("elsewhere@example.net")
    assert told_of("ada@example.org", [told]) == told


def test_of_several_others_the_least_severe_is_taken() -> None:
    dead, full = failed("one@example.net"), failed("two@example.net", hard=False)
    waiting = failed("three@example.net", action=Action.DELAYED)
    assert told_of("list@example.org", [dead, full]) == full
    assert told_of("list@example.org", [dead, waiting, full]) == waiting


def test_of_a_recipient_who_is_told_of_twice_the_worst_is_taken() -> None:
    waiting = failed("ada@example.org", action=Action.DELAYED)
    assert told_of("ada@example.org", [waiting, failed("ada@example.org")]) == failed("ada@example.org")


def test_a_report_that_names_nobody_tells_of_nobody() -> None:
    assert told_of("ada@example.org", []) is None
    assert told_of("ada@example.org", [failed("")]) == failed("")
