"""Wires bounce: refusals and reports in, judgements out."""

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from functions.bounce.handler import Bounce
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.objects.opening import open_store
from kannon.core.keys import Purpose
from kannon.core.payloads import ReportReceived, TransmissionsRefused
from kannon.core.return_path import KEY_ID
from kannon.events import Sealer
from kannon.runtime.attachments import store_place
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.settings import NATS_URL, STREAM_REPLICAS, Settings
from kannon.runtime.stage import START_PATIENCE, Stage, Wired


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/bounce")
    nats = await connect(settings[NATS_URL], "bounce", give_up_after=START_PATIENCE)
    await stack.enter_async_context(nats)
    publisher = NatsPublisher(nats, sealer, utc_now, settings[STREAM_REPLICAS])
    keys = {KEY_ID: key_for(settings, Purpose.RETURN_PATHS)}
    return Wired(
        Bounce(publisher, keys, open_store(store_place(settings))),
        sealer,
        (TransmissionsRefused, ReportReceived),
    )


stage = Stage("bounce", _build)


async def bounce(request: Request) -> Response:
    """The function: takes `transmissions.refused` and `reports.received`."""
    return await stage.answer(request)
