"""stats against a ledger in memory: every result once, late and repeated ones for nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.stats.deciding import RetryRules
from functions.stats.handler import Stats
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.errors import MalformedEvent
from kannon.core.payloads import (
    AnyPayload,
    Delivered,
    DeliveriesDue,
    Emitted,
    EnvelopesUntaken,
    Judged,
    Refused,
    TransmissionsDelivered,
    TransmissionsJudged,
)
from kannon.core.replies import Stage
from kannon.core.retries import RetrySchedule
from kannon.core.suppression import Reason, SuppressionRules
from tests.fakes import FakePublisher
from tests.fakes_ledger import FakeLedger
from tests.mail import DOMAIN, NOW, delivery

SCHEDULE = RetrySchedule(timedelta(minutes=2), timedelta(minutes=5), timedelta(hours=4))


class Nudged:
    """An outbox that counts."""

    nudges = 0

    def nudge(self) -> None:
        self.nudges += 1

    async def drain(self) -> int:
        return 0


class Around:
    """stats with its surroundings."""

    def __init__(self) -> None:
        self.ledger, self.publisher, self.outbox = FakeLedger(), FakePublisher(), Nudged()
        self.now = NOW
        self.stats = Stats(
            self.ledger,
            self.publisher,
            self.outbox,
            RetryRules(SCHEDULE),
            lambda: self.now,
            lambda: "nonce",
            lambda: 0.0,
            SuppressionRules(soft_after=3),
        )
        self.sending(0)

    def sending(self, *seqs: int) -> None:
        for seq in seqs:
            row = delivery(seq, Status.SENDING)
            self.ledger.rows[row.id] = row

    async def learn(self, *payloads: AnyPayload) -> None:
        for payload in payloads:
            await self.stats.handle(payload, "")

    def status(self, seq: int = 0) -> Status:
        return self.ledger.status(DeliveryId(7, seq))

    def types(self) -> Sequence[str]:
        return [outcome.type for outcome in self.ledger.outcomes.values()]


@pytest.fixture
def around() -> Around:
    return Around()


def delivered(seq: int = 0, attempt: int = 1) -> TransmissionsDelivered:
    emitted = Emitted(7, seq, attempt, 1)
    return TransmissionsDelivered((Delivered(emitted, NOW, 250, "2.0.0", "ok", "mx"),))


def judged(
    verdict: str, attempt: int = 1, code: int = 450, seq: int = 0, category: str = "temporary"
) -> TransmissionsJudged:
    refused = Refused(Emitted(7, seq, attempt, 1), NOW, Stage.RCPT, code, "", "later", "mx")
    return TransmissionsJudged((Judged(refused, verdict, category, False),))


async def test_delivered_ends_a_delivery_and_is_counted_once(around: Around) -> None:
    await around.learn(delivered(), delivered())
    assert around.status() is Status.DELIVERED
    assert around.types() == ["delivered"]


async def test_a_deferral_schedules_the_next_attempt_after_a_wait(around: Around) -> None:
    await around.learn(judged("deferred"))
    standing = around.ledger.rows[DeliveryId(7, 0)].standing
    assert standing == replace(
        standing,
        status=Status.SCHEDULED,
        attempts=1,
        emission=0,
        due_at=NOW + timedelta(minutes=5),
        answered=True,
    )
    assert around.types() == ["error"]


async def test_a_deferral_that_comes_again_costs_no_attempt(around: Around) -> None:
    await around.learn(judged("deferred"), judged("deferred"))
    assert around.ledger.rows[DeliveryId(7, 0)].standing.attempts == 1
    assert around.types() == ["error"]


async def test_a_permanent_refusal_bounces(around: Around) -> None:
    await around.learn(judged("bounced", code=550))
    assert around.status() is Status.BOUNCED
    (outcome,) = around.ledger.of_type("bounced")
    assert (outcome.data["permanent"], outcome.data["code"], outcome.data["msg"]) == (True, 550, "later")


async def test_a_deferral_beyond_the_retry_budget_ends_it(around: Around) -> None:
    around.now = NOW + timedelta(hours=24)
    await around.learn(judged("deferred"))
    assert around.status() is Status.BOUNCED
    assert around.ledger.of_type("bounced")[0].data["permanent"] is False


async def test_a_delivery_that_nobody_ever_answered_for_fails(around: Around) -> None:
    around.now = NOW + timedelta(hours=24)
    await around.learn(judged("deferred", code=0))
    assert around.status() is Status.FAILED
    assert around.ledger.of_type("failed")[0].data["reason"] == "temporary"


async def test_a_delivery_that_was_answered_once_bounces_though_its_last_attempt_was_not(
    around: Around,
) -> None:
    await around.learn(judged("deferred", attempt=1, code=450), judged("deferred", attempt=2, code=0))
    assert around.status() is Status.SCHEDULED
    around.now = NOW + timedelta(hours=24)
    await around.learn(judged("deferred", attempt=3, code=0))
    assert around.status() is Status.BOUNCED
    assert around.ledger.of_type("bounced")[0].data["permanent"] is False


@pytest.mark.parametrize(("code", "ends"), [(450, Status.BOUNCED), (0, Status.FAILED)])
async def test_what_an_edge_could_not_transmit_in_time_ends_as_a_spent_budget_does(
    code: int, ends: Status, around: Around
) -> None:
    await around.learn(judged("deferred", attempt=1, code=code))
    await around.learn(judged("failed", attempt=2, code=0, category="expired"))
    assert around.status() is ends
    assert around.types() == ["error", ends.value]


async def test_greylisting_is_asked_again_sooner_than_other_deferrals(around: Around) -> None:
    around.sending(1)
    await around.learn(judged("deferred"), judged("deferred", seq=1, category="greylisted"))
    standings = [around.ledger.rows[DeliveryId(7, seq)].standing for seq in (0, 1)]
    assert [standing.due_at - NOW for standing in standings] == [timedelta(minutes=5), timedelta(minutes=2)]


async def test_a_delivered_that_comes_after_a_deferral_of_the_same_attempt_wins(around: Around) -> None:
    await around.learn(judged("deferred"), delivered())
    assert around.status() is Status.DELIVERED
    assert around.types() == ["error", "delivered"]


async def test_a_result_that_outran_dispatchs_commit_counts_as_accepted_too(around: Around) -> None:
    row = delivery(5, Status.ACCEPTED)
    around.ledger.rows[row.id] = row
    await around.learn(delivered(seq=5), delivered(seq=5))
    assert around.status(5) is Status.DELIVERED
    assert around.types() == ["accepted", "delivered"]


async def test_nothing_undoes_a_delivered(around: Around) -> None:
    await around.learn(delivered(), judged("bounced"), judged("deferred"), judged("failed", attempt=2))
    assert around.status() is Status.DELIVERED
    assert around.types() == ["delivered"]


async def test_what_the_edge_had_no_room_for_is_offered_again_as_the_same_attempt(around: Around) -> None:
    await around.learn(EnvelopesUntaken((Emitted(7, 0, 1, 1),)))
    standing = around.ledger.rows[DeliveryId(7, 0)].standing
    assert (standing.status, standing.attempts, standing.emission) == (Status.SCHEDULED, 0, 1)
    assert standing.due_at > NOW
    assert around.types() == []


async def test_what_is_to_wait_longer_is_offered_later(around: Around) -> None:
    await around.learn(EnvelopesUntaken((Emitted(7, 0, 1, 1),), 90_000))
    assert around.ledger.rows[DeliveryId(7, 0)].standing.due_at == NOW + timedelta(seconds=90)


async def test_an_untaken_of_an_earlier_emission_is_late(around: Around) -> None:
    row = around.ledger.rows[DeliveryId(7, 0)]
    around.ledger.rows[row.id] = replace(row, standing=replace(row.standing, emission=2))
    await around.learn(EnvelopesUntaken((Emitted(7, 0, 1, 1),)))
    assert around.status() is Status.SENDING


async def test_a_result_for_a_delivery_that_we_do_not_know_is_let_go(around: Around) -> None:
    await around.learn(delivered(seq=99))
    assert around.types() == []


async def test_results_that_free_room_ask_for_what_waits(around: Around) -> None:
    await around.learn(delivered())
    assert not around.publisher.payloads
    around.sending(1)
    waiting = delivery(2, Status.SCHEDULED)
    around.ledger.rows[waiting.id] = waiting
    await around.learn(delivered(seq=1))
    assert around.publisher.payloads == [DeliveriesDue(100, "nonce")]


async def test_a_result_is_not_lost_because_asking_for_more_failed(around: Around) -> None:
    waiting = delivery(2, Status.SCHEDULED)
    around.ledger.rows[waiting.id] = waiting
    around.publisher.away = True
    await around.learn(delivered())
    assert around.status() is Status.DELIVERED


async def test_two_results_of_one_delivery_in_one_chunk_count_as_one(around: Around) -> None:
    one = delivered().transmissions[0]
    await around.learn(TransmissionsDelivered((one, replace(one, at=NOW + timedelta(seconds=1)))))
    assert around.types() == ["delivered"]


async def test_a_verdict_that_we_do_not_know_is_malformed(around: Around) -> None:
    with pytest.raises(MalformedEvent, match="verdict"):
        await around.learn(judged("perhaps"))


def bounced(seq: int, hard: bool, category: str = "mailbox-full") -> TransmissionsJudged:
    refused = Refused(Emitted(7, seq, 1, 1), NOW, Stage.RCPT, 550, "5.1.1", "no such user", "mx")
    return TransmissionsJudged((Judged(refused, "bounced", category, hard),))


async def test_a_hard_bounce_suppresses_its_address_for_the_domain_that_sent(around: Around) -> None:
    await around.learn(bounced(0, hard=True), bounced(0, hard=True))
    (suppression,) = around.ledger.suppressions.records.values()
    assert (suppression.domain, suppression.address) == (DOMAIN, "r0@example.org")
    assert (suppression.reason, suppression.message_id) == (Reason.HARD_BOUNCE, f"msg_7@{DOMAIN}")
    assert suppression.detail == "550 5.1.1 no such user"
    assert len(around.ledger.suppressions.told) == 1


async def test_a_soft_bounce_suppresses_when_there_were_enough_to_the_address(around: Around) -> None:
    for seq in range(4):
        around.ledger.rows[DeliveryId(7, seq)] = delivery(
            seq, Status.SENDING, recipient="Ada@example.org" if seq % 2 else "ada@EXAMPLE.org"
        )
    await around.learn(bounced(0, hard=False), bounced(0, hard=False), bounced(1, hard=False))
    assert not around.ledger.suppressions.records
    await around.learn(bounced(2, hard=False, category="policy"))
    assert not around.ledger.suppressions.records
    await around.learn(bounced(3, hard=False))
    (suppression,) = around.ledger.suppressions.records.values()
    assert (suppression.address, suppression.reason) == ("ada@example.org", Reason.SOFT_BOUNCE)


async def test_where_nothing_bounced_nothing_is_asked_or_written(around: Around) -> None:
    around.sending(1)
    around.ledger.suppressions = None  # type: ignore[assignment]
    await around.learn(delivered(0), judged("deferred", seq=1))
    assert around.types() == ["delivered", "error"]
