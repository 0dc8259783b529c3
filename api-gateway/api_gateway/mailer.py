"""The procedures of `Mailer`."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta

from api_gateway.announcer import Announcer
from api_gateway.endpoints import Call
from api_gateway.send_request import Content, RecipientReader, new_batch, read_content
from api_gateway.sender_rule import SenderRule
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb.mailer_pb2 import RejectedRecipient, SendHTMLReq, SendRes
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.batches import NewBatch
from kannon.ports import Clock, Intake

RECIPIENTS_AT_ONCE = 500
"""Read before other calls are let run: some milliseconds."""

log = logging.getLogger(__name__)


class Mailer:
    """Takes mail.

    Args:
        retry_budget: the span, from when it is scheduled, in which a Delivery is tried.
    """

    def __init__(
        self, intake: Intake, announcer: Announcer, rule: SenderRule, clock: Clock, retry_budget: timedelta
    ) -> None:
        self._intake = intake
        self._announcer = announcer
        self._rule = rule
        self._clock = clock
        self._retry_budget = retry_budget

    async def send_html(self, request: SendHTMLReq, call: Call) -> SendRes:
        """Make a Batch and a transient Template of a call; raises what `send_request` and `SenderRule` do."""
        content = read_content(request, self._clock(), self._retry_budget)
        await self._rule.check(content.sender.ascii_domain, call.domain)
        reader = await _read(request.recipients, content)
        batch = new_batch(content, reader.taken, call.domain, secrets.token_hex(16), call.traceparent)
        await self._accept(batch)
        return SendRes(
            message_id=batch.message_id,
            template_id=batch.template_id,
            scheduled_time=write_timestamp(batch.scheduled_at),
            accepted_count=len(reader.taken),
            rejected_count=len(reader.refused),
            rejected_recipients=[RejectedRecipient(email=r.email, reason=r.reason) for r in reader.refused],
        )

    async def _accept(self, batch: NewBatch) -> None:
        number = await self._intake.accept(batch)
        self._announcer.announce(
            number, [recipient.address for recipient in batch.recipients], batch.traceparent
        )
        log.info(
            "accepted",
            extra={
                "message_id": batch.message_id,
                "batch": number,
                "recipients": len(batch.recipients),
                "trace": batch.traceparent,
            },
        )


async def _read(recipients: Sequence[Recipient], content: Content) -> RecipientReader:
    reader = RecipientReader(content.header_fields)
    for start in range(0, len(recipients), RECIPIENTS_AT_ONCE):
        reader.read(recipients[start : start + RECIPIENTS_AT_ONCE])
        await asyncio.sleep(0)
    return reader
