"""What a report means for the Deliveries that it is about. No I/O."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from kannon.core.batches import Delivery, Outcome
from kannon.core.payloads import ReportJudged
from kannon.core.reports.attribution import told_of
from kannon.core.reports.values import Action, Kind, Reported


def outcome_of(delivery: Delivery, had: Collection[str], report: ReportJudged) -> Outcome | None:
    """The Outcome that a report brings, whatever its Delivery's status is, which it never changes.

    Args:
        had: the types of those Outcomes of the Delivery that there is only one of. A Delivery bounces once,
            at the exchanger or later.

    Returns:
        None if it brings none, or none that there is not yet.
    """
    told = told_of(delivery.recipient, report.told)
    if told is None:
        return None
    if report.kind is Kind.COMPLAINT and "complained" not in had:
        data = {"category": told.category, "reporting_mta": told.reporting_mta}
        return delivery.outcome("complained", _attempt(delivery), report.at, data)
    if report.kind is Kind.BOUNCE and told.action is Action.FAILED and "bounced" not in had:
        return delivery.outcome("bounced", _attempt(delivery), report.at, _bounced(told))
    return None


def without_the_erased(report: ReportJudged, deliveries: Iterable[Delivery]) -> ReportJudged:
    """A report as it is kept: where a Recipient was erased, without what others wrote of whom."""
    if not any(delivery.is_erased for delivery in deliveries):
        return report
    told = tuple(replace(one, address="", text="") for one in report.told)
    return replace(report, told=told, sender="", client="", head=b"")


def _bounced(told: Reported) -> dict[str, object]:
    return {
        "permanent": told.hard,
        "code": told.code,
        "enhanced": told.status,
        "msg": told.text,
        "category": told.category,
        "hard": told.hard,
        "reporting_mta": told.reporting_mta,
        "late": True,
    }


def _attempt(delivery: Delivery) -> int:
    """The last Attempt that there can be a report of: it may be quicker than the word that it succeeded."""
    standing = delivery.standing
    return standing.attempts if standing.status.is_terminal else standing.current_attempt
