"""stats and reports: a fact of its own, once of a kind, in any order, that undoes nothing."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from kannon.core.deliveries import DeliveryId, Status
from kannon.core.erasure import ERASED
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import AnyPayload, ReportJudged
from kannon.core.reports.values import Action, Kind, Reported
from kannon.core.suppression import Reason, Source
from tests.mail import DOMAIN, NOW, delivery
from tests.reports import failed, judged
from tests.unit.test_stats import Around, delivered
from tests.unit.test_stats import judged as transmission

LATER = NOW + timedelta(hours=3)
BOUNCE = judged(Kind.BOUNCE, failed("r0@example.org"), at=LATER)
COMPLAINT = judged(
    Kind.COMPLAINT, Reported("", Action.NONE, category="abuse", reporting_mta="fbl.example"), at=LATER
)


@pytest.fixture
def around() -> Around:
    return Around()


async def test_a_late_bounce_is_counted_and_the_mail_stays_delivered(around: Around) -> None:
    await around.learn(delivered(), BOUNCE)
    assert around.status() is Status.DELIVERED
    assert around.types() == ["delivered", "bounced"]
    (outcome,) = around.ledger.of_type("bounced")
    assert (outcome.at, outcome.attempt, outcome.recipient) == (LATER, 1, "r0@example.org")
    assert outcome.data == {
        "permanent": True,
        "code": 550,
        "enhanced": "5.1.1",
        "msg": "no such user",
        "category": "bad-mailbox",
        "hard": True,
        "reporting_mta": "mx.example.org",
        "late": True,
    }
    assert around.outbox.nudges == 2


async def test_a_complaint_is_counted_and_the_mail_stays_delivered(around: Around) -> None:
    await around.learn(delivered(), COMPLAINT)
    assert around.status() is Status.DELIVERED
    assert around.ledger.of_type("complained")[0].data == {
        "category": "abuse",
        "reporting_mta": "fbl.example",
    }


@pytest.mark.parametrize(("report", "reason"), [(BOUNCE, Reason.HARD_BOUNCE), (COMPLAINT, Reason.COMPLAINT)])
async def test_what_comes_back_suppresses_the_address(
    report: ReportJudged, reason: Reason, around: Around
) -> None:
    await around.learn(delivered(), report)
    (found,) = around.ledger.suppressions.records.values()
    assert (found.address, found.domain, found.reason, found.source) == (
        "r0@example.org",
        DOMAIN,
        reason,
        Source.REPORT,
    )


async def test_who_unsubscribes_by_mail_is_not_sent_to_until_the_address_is_let_in_again(
    around: Around,
) -> None:
    asked = judged(Kind.UNSUBSCRIBE, at=LATER)
    suppressions = around.ledger.suppressions.records
    await around.learn(delivered(), asked)
    (found,) = suppressions.values()
    assert (found.address, found.reason, found.source, found.created_at) == (
        "r0@example.org",
        Reason.UNSUBSCRIBE,
        Source.RECIPIENT,
        LATER,
    )
    assert around.types() == ["delivered"]
    suppressions.clear()
    await around.learn(asked)
    assert not suppressions


@pytest.mark.parametrize("report", [BOUNCE, COMPLAINT], ids=["bounce", "complaint"])
async def test_one_of_a_kind_counts_however_many_come(report: ReportJudged, around: Around) -> None:
    another = replace(report, digest="another", at=LATER + timedelta(days=1))
    await around.learn(delivered(), report, report, another)
    assert len(around.types()) == 2
    assert len(around.ledger.reports) == 2


async def test_a_delivery_may_bounce_late_and_be_complained_of(around: Around) -> None:
    await around.learn(COMPLAINT, BOUNCE, delivered())
    assert sorted(around.types()) == ["bounced", "complained", "delivered"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_whatever_comes_first_each_is_counted_once(order: tuple[int, ...], around: Around) -> None:
    payloads = (delivered(), BOUNCE, BOUNCE)
    await around.learn(*(payloads[at] for at in order))
    assert around.status() is Status.DELIVERED
    assert sorted(around.types()) == ["bounced", "delivered"]
    assert around.ledger.of_type("bounced")[0].attempt == 1


@pytest.mark.parametrize("report_first", [True, False])
async def test_a_delivery_that_bounced_at_the_exchanger_and_by_report_bounced_once(
    report_first: bool, around: Around
) -> None:
    payloads: list[AnyPayload] = [transmission("bounced", code=550), BOUNCE]
    await around.learn(*(payloads[::-1] if report_first else payloads))
    assert around.status() is Status.BOUNCED
    assert around.types() == ["bounced"]


@pytest.mark.parametrize("status", list(Status))
async def test_no_report_moves_a_delivery(status: Status, around: Around) -> None:
    row = delivery(0, status)
    around.ledger.rows[row.id] = row
    await around.learn(BOUNCE, COMPLAINT)
    assert around.ledger.rows[row.id] == row


@pytest.mark.parametrize("kind", [Kind.DELAYED, Kind.AUTO_REPLY, Kind.UNRECOGNISED])
async def test_what_is_neither_bounce_nor_complaint_costs_nobody_anything(kind: Kind, around: Around) -> None:
    await around.learn(delivered(), judged(kind, failed("r0@example.org", action=Action.DELAYED)))
    assert around.types() == ["delivered"]
    assert len(around.ledger.reports) == 1


async def test_a_failure_of_another_recipient_is_not_ours(around: Around) -> None:
    ours = failed("r0@example.org", action=Action.DELIVERED)
    await around.learn(delivered(), judged(Kind.BOUNCE, failed("else@example.org"), ours))
    assert around.types() == ["delivered"]


async def test_a_report_to_two_return_paths_is_about_both(around: Around) -> None:
    around.sending(1)
    both = replace(BOUNCE, deliveries=(DeliveryId(7, 1), DeliveryId(7, 0)))
    await around.learn(both)
    assert {outcome.id.seq for outcome in around.ledger.of_type("bounced")} == {0, 1}


async def test_a_report_about_nobody_that_we_know_is_kept_under_the_domain_it_came_to(around: Around) -> None:
    await around.learn(replace(COMPLAINT, deliveries=()), replace(BOUNCE, deliveries=(DeliveryId(9, 9),)))
    assert around.types() == []
    assert [domain for _, domain in around.ledger.reports.values()] == [DOMAIN, DOMAIN]


async def test_while_the_ledger_is_away_a_report_waits(around: Around) -> None:
    around.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await around.learn(BOUNCE)
    assert around.outbox.nudges == 0


def forgotten(around: Around) -> None:
    row = delivery(0, Status.DELIVERED, recipient=ERASED)
    around.ledger.rows[row.id] = row


async def test_what_comes_back_of_who_was_erased_is_counted_and_says_nothing_of_whom(around: Around) -> None:
    forgotten(around)
    told = replace(failed("ada@example.org"), text="<ada@example.org>: no such user")
    report = judged(Kind.BOUNCE, told, sender="ada@example.org", head=b"To: ada@example.org")
    await around.learn(report)
    (outcome,) = around.ledger.of_type("bounced")
    assert (outcome.recipient, outcome.data["code"], "msg" in outcome.data) == (ERASED, 550, False)
    ((kept, domain),) = around.ledger.reports.values()
    assert (kept.told[0].status, kept.identity(), domain) == ("5.1.1", report.identity(), DOMAIN)
    assert "ada" not in repr(kept)
    assert not around.ledger.suppressions.records


async def test_who_was_erased_and_unsubscribes_by_mail_suppresses_nobody_else(around: Around) -> None:
    forgotten(around)
    await around.learn(judged(Kind.UNSUBSCRIBE, at=LATER))
    assert not around.ledger.suppressions.records
