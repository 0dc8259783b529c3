"""Looking at Batches, cancelling and moving them: what callers are told."""

from datetime import UTC, datetime, timedelta
from typing import cast
from unittest.mock import MagicMock

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from api_gateway.announcer import Announcer
from api_gateway.batches import BatchDesk
from api_gateway.endpoints import Call
from api_gateway.refusals import Ended, NotFound
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import mailer_pb2 as pb
from kannon.core.deliveries import Status
from kannon.core.errors import BadInput
from tests.fakes_batches import FakeBatches
from tests.mail import DOMAIN, NOW, delivery

NAME = f"msg_7@{DOMAIN}"
CALL = Call("Mailer/GetBatch", "", DOMAIN)
LATER = NOW + timedelta(days=3)


class Desk(BatchDesk):
    """A desk over a Batch of seven mails in every state."""

    def __init__(self) -> None:
        self.batches = FakeBatches()
        self.announcer = MagicMock(spec=Announcer)
        self.now = NOW
        super().__init__(self.batches, cast("Announcer", self.announcer), lambda: self.now)
        waiting = [Status.ACCEPTED, Status.ACCEPTED, Status.SCHEDULED]
        others = [Status.SENDING, Status.DELIVERED, Status.BOUNCED, Status.REJECTED]
        rows = [delivery(seq, status) for seq, status in enumerate(waiting + others)]
        self.batches.put(DOMAIN, 7, NOW, *rows)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_batch_is_told_with_what_became_of_it(desk: Desk) -> None:
    told = await desk.get_batch(pb.GetBatchReq(message_id=NAME), CALL)
    assert (told.message_id, told.subject, told.template_id) == (NAME, "Hello {{ name }}", f"t@{DOMAIN}")
    assert (told.scheduled_time, told.accepted_time) == (write_timestamp(NOW), write_timestamp(NOW))
    assert not told.HasField("cancelled_time")
    counts = {"accepted": 2, "scheduled": 1, "sending": 1, "delivered": 1, "bounced": 1, "rejected": 1}
    assert (dict(told.counts), told.total) == (counts, 7)


async def test_cancelling_tells_what_it_was_too_late_for_and_says_so_again(desk: Desk) -> None:
    answers = []
    for now in (NOW, LATER):
        desk.now = now
        answers.append(await desk.cancel_batch(pb.CancelBatchReq(message_id=NAME), CALL))
    first, second = answers
    assert first == second
    assert (first.cancelled, first.under_way, first.ended) == (3, 1, 3)
    assert first.cancelled_time == write_timestamp(NOW)
    told = await desk.get_batch(pb.GetBatchReq(message_id=NAME), CALL)
    assert (told.cancelled_time, told.counts["cancelled"]) == (write_timestamp(NOW), 3)


async def test_what_is_cancelled_is_announced_no_more(desk: Desk) -> None:
    await desk.cancel_batch(pb.CancelBatchReq(message_id=NAME), CALL)
    desk.announcer.drop.assert_called_once_with(7)


async def test_moving_tells_what_was_moved_and_says_so_again(desk: Desk) -> None:
    request = pb.RescheduleBatchReq(message_id=NAME, scheduled_time=write_timestamp(LATER))
    first, second = [await desk.reschedule_batch(request, CALL) for _ in range(2)]
    assert first == second
    assert (first.moved, first.under_way, first.ended) == (3, 1, 3)
    assert first.scheduled_time == write_timestamp(LATER)


async def test_a_time_that_is_over_is_now(desk: Desk) -> None:
    request = pb.RescheduleBatchReq(
        message_id=NAME, scheduled_time=write_timestamp(NOW - timedelta(days=900))
    )
    desk.now = LATER
    assert (await desk.reschedule_batch(request, CALL)).scheduled_time == write_timestamp(LATER)


@pytest.mark.parametrize("name", ["", "msg_8@example.com", "msg_7@" + DOMAIN + "\0", "é", "msg_7"])
@pytest.mark.parametrize("domain", [DOMAIN, "example.net"])
async def test_what_a_domain_does_not_have_and_what_is_not_its_own_is_not_found(
    desk: Desk, domain: str, name: str
) -> None:
    call = Call("", "", domain)
    at = write_timestamp(LATER)
    for asked in (name, NAME) if domain != DOMAIN else (name,):
        for ask in (
            desk.get_batch(pb.GetBatchReq(message_id=asked), call),
            desk.cancel_batch(pb.CancelBatchReq(message_id=asked), call),
            desk.reschedule_batch(pb.RescheduleBatchReq(message_id=asked, scheduled_time=at), call),
        ):
            with pytest.raises(NotFound) as refused:
                await ask
            assert str(refused.value) == f"message_id: the domain {domain} has no message of that name"
    told = await desk.get_batch(pb.GetBatchReq(message_id=NAME), CALL)
    assert not told.HasField("cancelled_time")


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, "scheduled_time: is needed"),
        (Timestamp(seconds=2**60), "scheduled_time: must lie between"),
        (write_timestamp(datetime(9999, 12, 31, 12, tzinfo=UTC)), "scheduled_time: too far in the future"),
    ],
)
async def test_a_time_that_is_none_is_refused(desk: Desk, at: Timestamp | None, text: str) -> None:
    with pytest.raises(BadInput) as refused:
        await desk.reschedule_batch(pb.RescheduleBatchReq(message_id=NAME, scheduled_time=at), CALL)
    assert str(refused.value).startswith(text)


async def test_a_cancelled_batch_is_not_moved(desk: Desk) -> None:
    await desk.cancel_batch(pb.CancelBatchReq(message_id=NAME), CALL)
    request = pb.RescheduleBatchReq(message_id=NAME, scheduled_time=write_timestamp(LATER))
    with pytest.raises(Ended, match="message_id: the message was cancelled"):
        await desk.reschedule_batch(request, CALL)
