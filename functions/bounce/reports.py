"""What a report that came in means. No I/O."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import MAX_REPORT_HEAD, MAX_REPORTED, ReportJudged, ReportReceived, ReportRole
from kannon.core.reports.attribution import signed_delivery
from kannon.core.reports.reading import is_written_by_person, read_report
from kannon.core.reports.values import Kind, Report, Reported

MAX_TEXT: Final = 1_000
MAX_NAME: Final = 320
"""Characters of an address, and of what is as short as one."""

AUTH_FAILURE: Final = "auth-failure"
"""The Feedback-Type of RFC 6591: a receiver tells what it thinks of a signature, and nobody complains."""

_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def judged_report(received: ReportReceived, keys: Mapping[int, bytes]) -> ReportJudged:
    """Read a report, and find out which Deliveries it is about.

    Args:
        keys: the subkeys for return paths by their ids.
    """
    report = Report(Kind.UNSUBSCRIBE) if _unsubscribes(received) else _settled(read_report(received.message))
    return ReportJudged(
        recipients=received.recipients,
        deliveries=_deliveries(received, report, keys),
        kind=report.kind,
        reason=_clean(report.reason, MAX_NAME),
        told=tuple(_cleaned(one) for one in report.recipients[:MAX_REPORTED]),
        sender=_clean(received.sender, MAX_NAME),
        client=_clean(received.client, MAX_NAME),
        at=received.at,
        size=received.size,
        digest=received.digest,
        head=received.message[:MAX_REPORT_HEAD],
    )


def _unsubscribes(received: ReportReceived) -> bool:
    """Whether a person wrote to an address that is there for it: whatever that says (RFC 2369 §3.2)."""
    asked = any(one.role is ReportRole.UNSUBSCRIBE for one in received.recipients)
    return asked and is_written_by_person(received.message)


def _settled(report: Report) -> Report:
    if report.kind is Kind.COMPLAINT and all(one.category == AUTH_FAILURE for one in report.recipients):
        return replace(report, kind=Kind.UNRECOGNISED, reason=AUTH_FAILURE)
    return report


def _deliveries(
    received: ReportReceived, report: Report, keys: Mapping[int, bytes]
) -> tuple[DeliveryId, ...]:
    """Those whose return paths it came to; a complaint to a mailbox names its own, if that is signed.

    What a reader unsubscribes by is no return path: a bounce that comes there is none of that Delivery.
    """
    role = ReportRole.UNSUBSCRIBE if report.kind is Kind.UNSUBSCRIBE else ReportRole.RETURN_PATH
    named = [one.delivery for one in received.recipients if one.delivery and one.role is role]
    if not named and report.kind is Kind.COMPLAINT:
        found = signed_delivery(received.message, keys, received.at)
        named = [found] if found else []
    return tuple(dict.fromkeys(named))


def _cleaned(one: Reported) -> Reported:
    return replace(
        one,
        address=_clean(one.address, MAX_NAME),
        status=_clean(one.status, MAX_NAME),
        category=_clean(one.category, MAX_NAME),
        text=_clean(one.text, MAX_TEXT),
        reporting_mta=_clean(one.reporting_mta, MAX_NAME),
    )


def _clean(text: str, limit: int) -> str:
    """A stranger's text, without what no event or database can hold."""
    return _UNWRITABLE.sub(" ", text[:limit])
