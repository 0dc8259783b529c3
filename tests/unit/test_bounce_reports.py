"""bounce and the reports that come in: read, attributed, passed on, whatever strangers write."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.bounce.handler import Bounce
from functions.bounce.reports import judged_report
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import EventsUnavailable, StoreUnavailable
from kannon.core.payloads import (
    MAX_REPORT_BYTES,
    MAX_REPORT_HEAD,
    MAX_REPORT_RECIPIENTS,
    MAX_REPORTED,
    ReportJudged,
    ReportRecipient,
    ReportRole,
)
from kannon.core.reports.values import Kind
from kannon.core.stored_objects import StoredObject
from tests.fakes import FakePublisher
from tests.fakes_store import FakeObjects
from tests.mail import DOMAIN, NOW
from tests.reports import AUTO_REPLY, KEYS, OTHER, complaint, failure, received, return_path

MAILBOX = ReportRecipient(ReportRole.ABUSE, DOMAIN)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (failure("r0@example.org"), Kind.BOUNCE),
        (failure("r0@example.org", status="4.4.1", action="delayed"), Kind.DELAYED),
        (complaint(), Kind.COMPLAINT),
        (AUTO_REPLY, Kind.AUTO_REPLY),
        (OTHER, Kind.UNRECOGNISED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_kind_of_report_is_passed_on_for_the_delivery_whose_return_path_it_came_to(
    message: bytes, kind: Kind
) -> None:
    publisher = FakePublisher()
    await Bounce(publisher, KEYS).handle(received(message), "trace")
    (report,) = publisher.payloads
    assert isinstance(report, ReportJudged)
    assert (report.kind, report.deliveries) == (kind, (DeliveryId(7, 0),))
    assert (report.head, report.size, report.at) == (message, len(message), NOW)
    assert publisher.traces == ["trace"]


STORED = StoredObject("reports/2026040100/aa", 600_000, "aa" * 32)
FAR_DOWN = b"X-Padding: x\r\n" * 10_000 + failure("r0@example.org")
"""A report of which the event has only what tells nothing."""


async def judged_with(store: FakeObjects | None) -> ReportJudged:
    event = replace(received(FAR_DOWN[:MAX_REPORT_HEAD]), stored=STORED, truncated=True)
    publisher = FakePublisher()
    await Bounce(publisher, KEYS, store).handle(event, "")
    (report,) = publisher.payloads
    assert isinstance(report, ReportJudged)
    return report


async def test_of_a_stored_report_as_much_is_read_as_is_judged() -> None:
    store = FakeObjects()
    await store.put(STORED.name, FAR_DOWN + b"the mail itself\r\n" * 100_000)
    report = await judged_with(store)
    assert (report.kind, len(report.head)) == (Kind.BOUNCE, MAX_REPORT_HEAD)


async def test_a_stored_report_that_is_lost_is_judged_by_its_beginning() -> None:
    for store in (FakeObjects(), None):
        assert (await judged_with(store)).kind is Kind.UNRECOGNISED


async def test_a_stored_report_waits_for_the_store() -> None:
    store = FakeObjects()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await judged_with(store)


@pytest.mark.parametrize(
    ("message", "kind", "counts"),
    [
        (OTHER, Kind.UNSUBSCRIBE, True),
        (AUTO_REPLY, Kind.AUTO_REPLY, False),
        (failure("r0@example.org"), Kind.BOUNCE, False),
        (complaint(), Kind.COMPLAINT, False),
    ],
    ids=["person", "machine", "bounce", "complaint"],
)
def test_what_a_person_writes_to_unsubscribe_does_so_and_what_a_machine_writes_there_does_nothing(
    message: bytes, kind: Kind, counts: bool
) -> None:
    address = ReportRecipient(ReportRole.UNSUBSCRIBE, DOMAIN, DeliveryId(7, 0))
    report = judged_report(received(message, address), KEYS)
    assert (report.kind, report.deliveries) == (kind, (DeliveryId(7, 0),) if counts else ())


async def test_the_same_report_once_more_is_the_same_event() -> None:
    publisher = FakePublisher()
    bounce = Bounce(publisher, KEYS)
    await bounce.handle(received(OTHER), "")
    await bounce.handle(replace(received(OTHER), client="192.0.2.77"), "")
    assert len(publisher.payloads) == 1
    await bounce.handle(received(OTHER, MAILBOX), "")
    assert len(publisher.payloads) == 2


async def test_a_report_that_cannot_be_passed_on_stays_where_it_is() -> None:
    publisher = FakePublisher()
    publisher.away = True
    with pytest.raises(EventsUnavailable):
        await Bounce(publisher, KEYS).handle(received(OTHER), "")


def test_what_a_report_tells_of_recipients_is_passed_on() -> None:
    (told,) = judged_report(received(failure("r0@example.org")), KEYS).told
    assert (told.address, told.status, told.hard) == ("r0@example.org", "5.1.1", True)
    assert told.reporting_mta == "example.org"


def test_a_complaint_to_a_mailbox_is_about_the_delivery_that_it_names_by_its_signed_return_path() -> None:
    signed = complaint(original=f"Return-Path: <{return_path(seq=3)}>\r\n")
    assert judged_report(received(signed, MAILBOX), KEYS).deliveries == (DeliveryId(7, 3),)
    forged = complaint(original=f"Return-Path: <{return_path(seq=3, key=b'x' * 32)}>\r\n")
    assert judged_report(received(forged, MAILBOX), KEYS).deliveries == ()


def test_a_complaint_to_a_return_path_is_about_that_one_whatever_it_holds() -> None:
    signed = complaint(original=f"Return-Path: <{return_path(seq=3)}>\r\n")
    assert judged_report(received(signed), KEYS).deliveries == (DeliveryId(7, 0),)


def test_a_failure_that_came_to_a_mailbox_is_about_nobody() -> None:
    message = failure(return_path(seq=3))
    assert judged_report(received(message, MAILBOX), KEYS).deliveries == ()


def test_what_a_receiver_thinks_of_a_signature_is_no_complaint() -> None:
    report = judged_report(received(complaint(feedback="auth-failure")), KEYS)
    assert (report.kind, report.reason) == (Kind.UNRECOGNISED, "auth-failure")


def test_the_largest_of_reports_fits_an_event() -> None:
    text = "\N{SNOWMAN}" * 5_000
    many = failure(*(f"{'r' * 200}{number}@example.org" for number in range(200)))
    many = many.replace(b"Status:", f"Diagnostic-Code: smtp; 550 {text}\r\nStatus:".encode())
    message = (many + b"x" * MAX_REPORT_BYTES)[:MAX_REPORT_BYTES]
    to = [
        ReportRecipient(ReportRole.RETURN_PATH, "d" * 253, DeliveryId(2**62, seq))
        for seq in range(MAX_REPORT_RECIPIENTS)
    ]
    report = judged_report(received(message, *to), KEYS)
    assert len(report.deliveries) == MAX_REPORT_RECIPIENTS
    assert 1 < len(report.told) <= MAX_REPORTED
    assert len(report.head) == MAX_REPORT_HEAD
    assert len(msgspec.json.encode(report)) < MAX_CHUNK_BYTES


def test_no_sign_that_a_database_cannot_hold_is_passed_on() -> None:
    message = failure("r\0@example.org").replace(b"dns; example.org", b"dns; \x00mx\x1b[2J")
    report = judged_report(received(message), KEYS)
    assert report.told
    assert not [sign for one in report.told for sign in one.address + one.reporting_mta if sign < " "]


@given(st.binary(max_size=300), st.sampled_from([failure("a@b.example"), complaint(), OTHER, b""]))
def test_whatever_strangers_write_becomes_an_event(noise: bytes, message: bytes) -> None:
    at = len(message) // 2
    report = judged_report(received(message[:at] + noise + message[at:], MAILBOX), KEYS)
    assert msgspec.json.decode(msgspec.json.encode(report), type=ReportJudged) == report
    assert b"\\u0000" not in msgspec.json.encode(report.told)
