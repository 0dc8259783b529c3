"""The procedures of `Mailer`."""

import asyncio
import logging
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from time import monotonic

from api_gateway.announcer import Announcer
from api_gateway.endpoints import Call
from api_gateway.field_rules import FieldRules
from api_gateway.send_request import Content, RecipientReader, new_batch, read_content
from api_gateway.sender_rule import SenderRule
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb.mailer_pb2 import RejectedRecipient, SendHTMLReq, SendRes
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.batches import NewBatch
from kannon.ports import Clock, Intake

TURN = 0.01
"""Seconds for which Recipients are read before other calls are let run."""
HTML_AT_ONCE = 20_000
"""Characters of HTML that are read at once, in some milliseconds; longer ones are read beside other calls."""

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
        content = await _content(request, self._clock(), self._retry_budget)
        await self._rule.check(content.sender.ascii_domain, call.domain)
        reader = await _read(request.recipients, content.rules)
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


async def _content(request: SendHTMLReq, now: datetime, retry_budget: timedelta) -> Content:
    if len(request.html) <= HTML_AT_ONCE:
        return read_content(request, now, retry_budget)
    return await asyncio.to_thread(read_content, request, now, retry_budget)


async def _read(recipients: Iterable[Recipient], rules: FieldRules) -> RecipientReader:
    reader = RecipientReader(rules)
    turn_ends = monotonic() + TURN
    for recipient in recipients:
        reader.read(recipient)
        if monotonic() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = monotonic() + TURN
    return reader
