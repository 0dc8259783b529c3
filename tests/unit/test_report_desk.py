"""ListReports and GetReport over reports in memory."""

from datetime import timedelta

import pytest

from api_gateway.endpoints import Call
from api_gateway.refusals import NotFound
from api_gateway.reports import MAX_TAKE, ReportDesk
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.errors import BadInput
from kannon.core.reports.values import Action, Kind, Reported
from tests.fakes_ledger import FakeLedger
from tests.fakes_reports import FakeReports
from tests.mail import DOMAIN, NOW
from tests.reports import failed, judged

ANYONE = Call("pkg.kannon.admin.apiv1.Api", "")


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def desk(ledger: FakeLedger) -> ReportDesk:
    return ReportDesk(FakeReports(ledger), lambda: NOW)


async def keep(ledger: FakeLedger, count: int, kind: Kind = Kind.UNRECOGNISED, *told: Reported) -> None:
    async with ledger.work() as work:
        for number in range(count):
            await work.keep_report(judged(kind, *told, digest=f"{kind}{number}"), DOMAIN)


async def test_pages_follow_one_another_and_the_first_has_the_counts(
    desk: ReportDesk, ledger: FakeLedger
) -> None:
    await keep(ledger, 3)
    first = await desk.list_reports(pb.ListReportsReq(take=2), ANYONE)
    last = await desk.list_reports(pb.ListReportsReq(take=2, before=first.next), ANYONE)
    assert [report.number for report in (*first.reports, *last.reports)] == [3, 2, 1]
    assert [(one.kind, one.count) for one in first.counts] == [("unrecognised", 3)]
    assert (last.next, list(last.counts)) == (0, [])


async def test_a_page_that_is_just_full_is_the_last(desk: ReportDesk, ledger: FakeLedger) -> None:
    await keep(ledger, 2)
    assert (await desk.list_reports(pb.ListReportsReq(take=2), ANYONE)).next == 0


async def test_what_came_longer_ago_is_not_counted(ledger: FakeLedger) -> None:
    await keep(ledger, 1)
    later = ReportDesk(FakeReports(ledger), lambda: NOW + timedelta(days=31))
    answer = await later.list_reports(pb.ListReportsReq(), ANYONE)
    assert (len(answer.reports), list(answer.counts)) == (1, [])


async def test_a_report_is_told_with_all_that_is_known_of_it(desk: ReportDesk, ledger: FakeLedger) -> None:
    await keep(ledger, 1, Kind.BOUNCE, failed("r0@example.org", action=Action.DELAYED))
    answer = await desk.get_report(pb.GetReportReq(number=1), ANYONE)
    report = answer.report
    assert (report.kind, report.domain, report.size, report.client) == ("bounce", DOMAIN, 22, "192.0.2.1")
    assert (list(report.recipients), list(report.deliveries)) == ([f"return-path {DOMAIN}"], ["7.0"])
    (told,) = report.told
    assert (told.address, told.action, told.status) == ("r0@example.org", "delayed", "5.1.1")
    assert (told.code, told.hard, told.category) == (550, True, "bad-mailbox")
    assert answer.head == b"Subject: failure\r\n\r\n\xff\0"


async def test_one_that_is_not_there_is_not_found(desk: ReportDesk) -> None:
    with pytest.raises(NotFound):
        await desk.get_report(pb.GetReportReq(number=9), ANYONE)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListReportsReq(kind="other"), "kind"),
        (pb.ListReportsReq(domain="no domain"), "domain"),
        (pb.ListReportsReq(take=MAX_TAKE + 1), "take"),
    ],
)
async def test_what_is_wrong_with_a_call_is_told(
    request_: pb.ListReportsReq, field: str, desk: ReportDesk
) -> None:
    with pytest.raises(BadInput, match=field):
        await desk.list_reports(request_, ANYONE)
