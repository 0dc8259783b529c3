"""SendHTML lets other calls run while it reads a large one."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast
from unittest.mock import AsyncMock, MagicMock

from api_gateway.announcer import Announcer
from api_gateway.attachments import AttachmentDesk, AttachmentLimits
from api_gateway.bodies import Bodies
from api_gateway.endpoints import Call
from api_gateway.mailer import Mailer
from api_gateway.sender_rule import SenderRule
from api_gateway.suppressed_recipients import SuppressedRecipients
from api_gateway.tracking import Ceilings
from kannon.adapters.pb.mailer_pb2 import SendHTMLReq, SendRes
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from kannon.ports import Intake
from tests.fakes_gateway import FakeDirectory, FakeTemplates
from tests.fakes_store import FakeAttachmentUses
from tests.fakes_suppressions import FakeSuppressions

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


async def turns_while(request: SendHTMLReq) -> tuple[int, SendRes]:
    """How often another task could run, and the answer."""
    intake = AsyncMock(accept=AsyncMock(return_value=1))
    mailer = Mailer(
        cast("Intake", intake),
        Bodies(FakeTemplates()),
        cast("Announcer", MagicMock()),
        cast("SenderRule", AsyncMock()),
        SuppressedRecipients(FakeSuppressions(), lambda: NOW),
        Ceilings(FakeDirectory()),
        lambda: NOW,
        timedelta(days=1),
        AttachmentDesk(None, FakeAttachmentUses(), AttachmentLimits(10**6, 10**7)),
    )
    call = Call("pkg.kannon.mailer.apiv1.Mailer/SendHTML", "", "example.com")
    sending = asyncio.create_task(mailer.send_html(request, call))
    turns = 0
    while not sending.done():
        turns += 1
        await asyncio.sleep(0)
    return turns, await sending


async def test_other_calls_run_while_awkward_addresses_are_read() -> None:
    recipients = [Recipient(email=f"x@ßüöä{n}.bücher-läden.example") for n in range(450)]
    request = SendHTMLReq(sender=Sender(email="a@example.com"), html="x", recipients=recipients)
    turns, answer = await turns_while(request)
    assert answer.accepted_count == 450
    assert turns > 8


async def test_other_calls_run_while_a_large_html_is_read() -> None:
    request = SendHTMLReq(sender=Sender(email="a@example.com"), html="<p>x</p>{{x}}" * 10_000)
    turns, answer = await turns_while(request)
    assert answer.accepted_count == 0
    assert turns > 8
