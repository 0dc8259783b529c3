"""Whatever comes in, reading it takes a bounded time, and ends in a Report."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kannon.core.reports.reading import read, read_report
from kannon.core.reports.values import Kind, Report
from tests.report_corpus import FOLDER, samples

CORPUS = [sample.raw for sample in samples()]
WITHIN = 1.0
"""Seconds of this process, for any message."""

HEAD = b"From: MAILER-DAEMON\r\nTo: a@example.com\r\nSubject: Undelivered Mail\r\n"


def nested(depth: int) -> bytes:
    """Multiparts in multiparts."""
    opening = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (at, at) for at in range(depth)
    )
    return HEAD + opening + b"Content-Type: text/plain\n\n550 5.1.1 User unknown\n"


def of_parts(count: int, part: bytes) -> bytes:
    """One multipart of many parts."""
    return HEAD + b"Content-Type: multipart/report; boundary=b\n\n" + (b"--b\n" + part) * count


MONSTERS = {
    "1,000 levels deep": nested(1_000),
    "20,000 levels deep": nested(20_000),
    "100,000 parts": of_parts(100_000, b"\n"),
    "100,000 delivery reports": of_parts(20_000, b"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.c\nAction: failed\n\n"),
    "10 MB of header": HEAD + b"X-Long: " + b"a" * 10_000_000,
    "10 MB of header fields": HEAD + b"X-A: b\r\n" * 1_200_000 + b"\r\ntext",
    "10 MB of folded lines": HEAD + b"X-Folded: a\r\n" + b" b\r\n" * 2_500_000,
    "a line of 5 MB": HEAD + b"\r\n" + b"a" * 5_000_000,
    "a line of at signs": HEAD + b"\r\n" + b"a@" * 300_000,
    "a line of digits": HEAD + b"\r\n" + b"550 " * 200_000,
    "a line of dots": HEAD + b"\r\n" + b"5.1." * 200_000,
    "a line of brackets": HEAD + b"\r\n" + b"<" * 400_000,
    "lines of brackets": HEAD + b"\r\n" + b"<a@b.c\n" * 60_000,
    "lines of addresses": HEAD + b"\r\n" + b"".join(b"<a%d@example.com>: 550 5.1.1 unknown\n" % at for at in range(20_000)),
    "only newlines": HEAD + b"\r\n" * 500_000,
    "only carriage returns": b"\r" * 1_000_000,
    "only nulls": b"\0" * 1_000_000,
    "only spaces": HEAD + b"\r\n" + b" " * 1_000_000,
    "spaces in the subject": HEAD + b"Subject:" + b" " * 60_000 + b"x\r\n\r\nx",
    "encoded words": HEAD + b"X-Failed-Recipients: " + b"=?utf-8?q?a?= " * 20_000 + b"\r\n\r\nx",
    "half an encoded word": b"Subject: " + b"=?utf-8?q?" * 20_000 + b"\r\n\r\nx",
    "tags": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<style " * 60_000,
    "open styles": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<style>x" * 60_000,
    "base64 of nothing": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 400_000,
    "quoted-printable": HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 400_000,
    "an odd charset": HEAD + b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a-" * 200_000,
    "a charset that is none": HEAD + b"Content-Type: text/plain; charset=rot13\r\n\r\nabc",
    "iso-2022-jp": HEAD + b"\r\n" + b"\x1b$B" * 100_000,
    "deep json": HEAD + b"Content-Type: application/json\r\n\r\n" + b'{"a":' * 50_000,
    "deep lists of json": HEAD + b"\r\n{" + b'"a":' + b"[" * 100_000,
    "a long number of json": HEAD + b'\r\n{"a":' + b"1" * 100_000 + b"}",
    "sns within sns": HEAD + b"\r\n" + json.dumps({"Message": json.dumps({"Message": "{" * 9_000})}).encode(),
    "a boundary of 100 KB": HEAD + b"Content-Type: multipart/mixed; boundary=" + b"b" * 100_000 + b"\r\n\r\n--b",
    "parameters": HEAD + b"Content-Type: multipart/mixed" + b"; a=b" * 12_000 + b"\r\n\r\nx",
    "open quotes": HEAD + b"Content-Type: multipart/mixed; boundary=" + b'"' * 60_000 + b"\r\n\r\nx",
    "words of all rules": HEAD + b"\r\n" + b"user mailbox domain message your connection the sender ip " * 9_000,
    "a diagnostic of 300 KB": of_parts(1, b"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.c\nAction: failed\nDiagnostic-Code: smtp; 550 " + b"user " * 60_000),
    "100 recipients with much to judge": of_parts(1, b"Content-Type: message/delivery-status\n\n" + b"".join(b"Final-Recipient: rfc822; a%d@b.c\nAction: failed\nDiagnostic-Code: smtp; no %d " % (at, at) + b"user mailbox domain message your connection the sender ip " * 40 + b"\n\n" for at in range(100))),
    "100 addresses with much to judge": HEAD + b"\r\n" + b"".join(b"<a%d@b.c>: no %d " % (at, at) + b"user mailbox domain message your connection the sender ip " * 3 + b"\n" for at in range(100)),
    "recipients": of_parts(1, b"Content-Type: message/delivery-status\n\n" + b"Final-Recipient: rfc822; a@b.c\nAction: failed\nStatus: 5.1.1\n\n" * 5_000),
    "characters spelled out": of_parts(1, b"Content-Type: message/global-delivery-status\n\nFinal-Recipient: utf-8; " + b"\\x{FFFFFF}\\x{D800}" * 900 + b"\nAction: failed\n"),
}  # fmt: skip


def check(raw: bytes) -> Report:
    """Read it, without the net that catches what goes wrong."""
    start = time.process_time()
    report = read(raw)
    assert time.process_time() - start < WITHIN
    assert isinstance(report, Report)
    assert report.kind in Kind
    assert len(report.recipients) <= 100
    for one in report.recipients:
        assert len(one.address) <= 400
        assert len(one.text) <= 1_000
        assert len(one.category) <= 40
        assert 0 <= one.code <= 999
        assert one.status == "" or one.status[0] in "245"
    if report.kind in (Kind.BOUNCE, Kind.COMPLAINT):
        assert report.recipients
    return report


@pytest.mark.parametrize("name", MONSTERS)
def test_monsters_are_read_in_time(name: str) -> None:
    check(MONSTERS[name])


def test_a_report_in_a_large_mail_is_read() -> None:
    raw = (FOLDER / "lhost-postfix-02.eml").read_bytes()
    assert check(raw + b"x" * 10_000_000).kind is Kind.BOUNCE


def test_what_goes_wrong_within_comes_out_as_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(raw: bytes) -> None:
        raise ValueError

    monkeypatch.setattr("kannon.core.reports.reading.read_message", fail)
    assert read_report(b"x") == Report(Kind.UNRECOGNISED, reason="unreadable")


@given(st.binary(max_size=3_000))
@settings(deadline=None)
def test_any_octets_are_read(raw: bytes) -> None:
    check(raw)


@given(st.sampled_from(CORPUS), st.integers(0, 60_000), st.integers(0, 60_000))
@settings(deadline=None)
def test_what_is_left_of_a_report_is_read(raw: bytes, start: int, end: int) -> None:
    check(raw[start % len(raw) :])
    check(raw[: end % len(raw)])


@given(st.sampled_from(CORPUS), st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 255)), max_size=60))
@settings(deadline=None)
def test_a_report_with_octets_changed_is_read(raw: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(raw)
    for at, octet in changes:
        changed[at % len(raw)] = octet
    check(bytes(changed))


@given(
    st.lists(st.tuples(st.sampled_from(CORPUS), st.integers(0, 60_000), st.integers(0, 6_000)), max_size=8)
)
@settings(deadline=None)
def test_pieces_of_reports_are_read(pieces: list[tuple[bytes, int, int]]) -> None:
    check(b"".join(raw[at % len(raw) :][:length] for raw, at, length in pieces))


_TYPES = st.sampled_from(
    ["multipart/report; boundary=b", "multipart/mixed; boundary=c", "multipart/mixed", "text/plain; charset=iso-2022-jp",
     "text/plain; charset=utf-7", "text/html", "message/rfc822", "message/delivery-status", "message/feedback-report",
     "message/global-delivery-status", "application/json", "text/rfc822-headers", "multipart/report; boundary=\"\""]
)  # fmt: skip
_LINES = st.sampled_from(
    ["", "--b", "--b--", "--c", " --c--", "Final-Recipient: rfc822; a@example.com", "Original-Recipient: ;", "Action: failed",
     "Action: delayed", "Status: 5.1.1 (x)", "Status: 9.9.9", "Diagnostic-Code: smtp; 550 5.1.1 no", "Feedback-Type: abuse",
     "<a@example.com>: host said: 452 4.2.2 full", ">>> RCPT TO:<a@example.com>", "<<< 550 no", "  a@example.com",
     "X-Failed-Recipients: a@example.com", "From: MAILER-DAEMON", "Subject: Undelivered Mail", "{\"notificationType\":\"Bounce\"}",
     "Below this line is a copy", "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "=?x?b?=?="]
)  # fmt: skip


@given(st.lists(st.one_of(_LINES, _TYPES.map("Content-Type: {}".format), st.text(max_size=40)), max_size=60))
@settings(deadline=None)
def test_any_mime_is_read(lines: list[str]) -> None:
    check("\n".join(lines).encode("utf-8", "surrogatepass"))
