"""The procedures of `Api` for reports: what came back."""

from collections.abc import Mapping

from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.errors import BadInput
from kannon.core.reports.values import Kind, Reported
from kannon.ports import REPORTS_KEPT_FOR, Clock, ReportRecord, Reports

DEFAULT_TAKE = 100
MAX_TAKE = 1000


class ReportDesk:
    """Shows reports that were kept."""

    def __init__(self, reports: Reports, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock

    async def list_reports(self, request: pb.ListReportsReq, _call: Call) -> pb.ListReportsRes:
        """A page of reports, newest first, and with the first page the counts; raises BadInput."""
        take = read_take(request.take, DEFAULT_TAKE, MAX_TAKE)
        kind = _kind(request.kind)
        domain = read_domain(request.domain) if request.domain else ""
        found = await self._reports.page(kind, domain, request.before or None, take + 1)
        counts: Mapping[Kind, int] = {}
        if not request.before:
            counts = await self._reports.counts(domain, self._clock() - REPORTS_KEPT_FOR)
        return pb.ListReportsRes(
            reports=[_written(record) for record in found[:take]],
            next=found[take - 1].number if len(found) > take else 0,
            counts=[pb.ReportCount(kind=each, count=counts[each]) for each in Kind if each in counts],
        )

    async def get_report(self, request: pb.GetReportReq, call: Call) -> pb.GetReportRes:
        """One report, and its octets from the beginning; raises NotFound, to a key for another's too."""
        found = await self._reports.report(request.number)
        if found is None or (call.domain and found[0].domain != call.domain):
            raise NotFound(f"number: there is no report {request.number}")
        record, head = found
        return pb.GetReportRes(report=_written(record), head=head)


def _kind(text: str) -> Kind | None:
    if not text:
        return None
    try:
        return Kind(text)
    except ValueError:
        raise BadInput(f"kind: must be one of {', '.join(Kind)}") from None


def _written(record: ReportRecord) -> pb.Report:
    return pb.Report(
        number=record.number,
        received_at=write_timestamp(record.at),
        kind=record.kind,
        reason=record.reason,
        domain=record.domain,
        recipients=[f"{recipient.role} {recipient.domain}" for recipient in record.recipients],
        deliveries=[str(delivery) for delivery in record.deliveries],
        sender=record.sender,
        client=record.client,
        size=record.size,
        told=[_told(one) for one in record.told],
    )


def _told(one: Reported) -> pb.ReportedRecipient:
    return pb.ReportedRecipient(
        address=one.address,
        action=one.action,
        status=one.status,
        code=one.code,
        category=one.category,
        hard=one.hard,
        text=one.text,
        reporting_mta=one.reporting_mta,
    )
