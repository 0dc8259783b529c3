"""The procedures of `Mailer` for Batches that were accepted: look, cancel, move. They are ours."""

from api_gateway.announcer import Announcer
from api_gateway.endpoints import Call
from api_gateway.refusals import Ended, NotFound
from api_gateway.send_request import read_schedule
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import mailer_pb2 as pb
from kannon.core.errors import BadInput
from kannon.ports import Batches, BatchRecord, Clock

CANCELLED = "message_id: the message was cancelled"


class BatchDesk:
    """Shows a Domain its Batches, cancels and moves them."""

    def __init__(self, batches: Batches, announcer: Announcer, clock: Clock) -> None:
        self._batches = batches
        self._announcer = announcer
        self._clock = clock

    async def get_batch(self, request: pb.GetBatchReq, call: Call) -> pb.GetBatchRes:
        """How a Batch stands; raises NotFound."""
        found = await self._known(request.message_id, call)
        cancelled_at = found.cancelled_at
        return pb.GetBatchRes(
            message_id=found.message_id,
            subject=found.subject,
            template_id=found.template_id,
            scheduled_time=write_timestamp(found.scheduled_at),
            accepted_time=write_timestamp(found.accepted_at),
            cancelled_time=write_timestamp(cancelled_at) if cancelled_at else None,
            counts={status.value: count for status, count in found.counts.items()},
            total=found.total,
        )

    async def cancel_batch(self, request: pb.CancelBatchReq, call: Call) -> pb.CancelBatchRes:
        """Cancel what is not on its way yet; raises NotFound."""
        found = await self._known(request.message_id, call)
        self._announcer.drop(found.number)
        await self._batches.cancel(found.number, self._clock())
        found = await self._known(request.message_id, call)
        assert found.cancelled_at is not None, "it was cancelled above"
        return pb.CancelBatchRes(
            cancelled_time=write_timestamp(found.cancelled_at),
            cancelled=found.cancelled,
            under_way=found.total - found.cancelled - found.ended,
            ended=found.ended,
        )

    async def reschedule_batch(self, request: pb.RescheduleBatchReq, call: Call) -> pb.RescheduleBatchRes:
        """Move what was not tried yet to another time; raises BadInput, NotFound, and Ended if it was
        cancelled."""
        if not request.HasField("scheduled_time"):
            raise BadInput("scheduled_time: is needed")
        found = await self._known(request.message_id, call)
        at, _ = read_schedule(request, self._clock(), found.retry_budget)
        if not await self._batches.reschedule(found.number, at):
            raise Ended(CANCELLED)
        found = await self._known(request.message_id, call)
        return pb.RescheduleBatchRes(
            scheduled_time=write_timestamp(found.scheduled_at),
            moved=found.untried,
            under_way=found.total - found.untried - found.ended - found.cancelled,
            ended=found.ended + found.cancelled,
        )

    async def _known(self, message_id: str, call: Call) -> BatchRecord:
        readable = message_id.isascii() and message_id.isprintable()
        found = await self._batches.batch(call.domain, message_id) if readable else None
        if found is None:
            raise NotFound(f"message_id: the domain {call.domain} has no message of that name")
        return found
