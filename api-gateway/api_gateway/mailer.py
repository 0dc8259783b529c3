"""The procedures of `Mailer`."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

from api_gateway.announcer import Announcer
from api_gateway.attachments import AttachmentDesk
from api_gateway.bodies import Bodies, Chosen
from api_gateway.endpoints import Call
from api_gateway.idempotency import ContentHash, check_key, repeated
from api_gateway.options import read_source
from api_gateway.send_request import (
    RecipientReader,
    SendRequest,
    TakenRecipients,
    new_batch,
    read_content,
)
from api_gateway.sender_rule import SenderRule
from api_gateway.suppressed_recipients import SuppressedRecipients
from api_gateway.timestamps import write_timestamp
from api_gateway.tracking import Ceilings
from api_gateway.turns import in_turns
from kannon.adapters.pb.mailer_pb2 import SendHTMLReq, SendRes, SendTemplateReq
from kannon.core.batches import KeyedAnswer, NewBatch
from kannon.core.failpoints import passing
from kannon.core.limits import check_mails, check_recipients
from kannon.ports import Clock, Intake
from kannon.telemetry.catalogue import RECIPIENTS

log = logging.getLogger(__name__)


class Mailer:
    """Takes mail.

    Args:
        retry_budget: the span, from when it is scheduled, in which a Delivery is tried.
    """

    def __init__(
        self,
        intake: Intake,
        bodies: Bodies,
        announcer: Announcer,
        rule: SenderRule,
        suppressed: SuppressedRecipients,
        ceilings: Ceilings,
        clock: Clock,
        retry_budget: timedelta,
        attachments: AttachmentDesk,
    ) -> None:
        self._intake = intake
        self._bodies = bodies
        self._announcer = announcer
        self._rule = rule
        self._suppressed = suppressed
        self._ceilings = ceilings
        self._clock = clock
        self._retry_budget = retry_budget
        self._attachments = attachments

    async def send_html(self, request: SendHTMLReq, call: Call) -> SendRes:
        """Make a Batch and a transient Template of a call.

        Raises:
            KannonError: what `Bodies`, `Ceilings`, `idempotency`, `send_request`, `SenderRule`,
                `AttachmentDesk`, `SuppressedRecipients`, `core.limits` and `ports.Intake` raise.
        """
        return await self._send_once(
            request, call, lambda: self._bodies.given(read_source(request), request.raw_fields)
        )

    async def send_template(self, request: SendTemplateReq, call: Call) -> SendRes:
        """Make a Batch of a call and a stored Template; raises as `send_html` does."""
        return await self._send_once(
            request,
            call,
            lambda: self._bodies.stored(request.template_id, call.domain, request.raw_fields, request.text),
        )

    async def _send_once(
        self, request: SendRequest, call: Call, choose: Callable[[], Awaitable[Chosen]]
    ) -> SendRes:
        if not call.idempotency_key:
            return await self._send(request, call, await choose())
        check_key(call.idempotency_key)
        content_hash = await _hash_of(request, call)
        # Looked for before anything else: the answer stands though a Template or a rule has changed since.
        earlier = await self._intake.answered(call.domain, call.idempotency_key, self._clock())
        if earlier is not None:
            return repeated(earlier, content_hash)
        return await self._send(request, call, await choose(), content_hash)

    async def _send(
        self, request: SendRequest, call: Call, chosen: Chosen, content_hash: bytes = b""
    ) -> SendRes:
        now = self._clock()
        check_recipients(len(request.recipients), call.limits)
        ceiling = await self._ceilings.of(call.domain)
        content = read_content(request, chosen, ceiling, now, self._retry_budget)
        await self._rule.check(content.sender.ascii_domain, call.domain)
        attachments = await self._attachments.read(request.attachments)
        reader = RecipientReader(content.rules, content.tracking)
        async for recipient in in_turns(request.recipients):
            reader.read(recipient)
        await self._suppressed.refuse(reader, request.recipients, call.domain)
        check_mails(len(reader.taken), call.limits)
        taken = TakenRecipients(request.recipients, reader.taken, content.tracking)
        await self._attachments.keep(attachments, request.attachments, call.domain, content.expires_at)
        name = secrets.token_hex(16)
        batch = new_batch(content, taken, call.domain, name, call.traceparent, attachments)
        answer = _answered(reader.answer, batch)
        keyed = None
        if call.idempotency_key:
            keyed = KeyedAnswer(
                call.domain, call.idempotency_key, content_hash, answer.SerializeToString(), now
            )
        number = await self._intake.accept(batch, keyed, call.limits)
        if isinstance(number, KeyedAnswer):
            return repeated(number, content_hash)
        passing("gateway.committed")
        self._announcer.announce(number, list(reader.taken), batch.traceparent)
        _tell_accepted(batch, number, answer.rejected_count)
        return answer


async def _hash_of(request: SendRequest, call: Call) -> bytes:
    content = ContentHash(call.procedure, request)
    async for attachment in in_turns(request.attachments):
        content.add(attachment)
    async for recipient in in_turns(request.recipients):
        content.add(recipient)
    return content.digest()


def _answered(answer: SendRes, batch: NewBatch) -> SendRes:
    answer.message_id = batch.message_id
    answer.template_id = batch.template_id
    answer.scheduled_time.CopyFrom(write_timestamp(batch.scheduled_at))
    answer.accepted_count = len(batch.recipients)
    answer.rejected_count = len(answer.rejected_recipients)
    return answer


def _tell_accepted(batch: NewBatch, number: int, rejected: int) -> None:
    RECIPIENTS.add(len(batch.recipients), "accepted")
    RECIPIENTS.add(rejected, "rejected")
    log.info(
        "accepted",
        extra={
            "message_id": batch.message_id,
            "batch": number,
            "recipients": len(batch.recipients),
        },
    )
