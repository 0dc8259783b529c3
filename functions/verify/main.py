"""Wires verify: DNS in, verdicts out."""

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from functions.verify.handler import Verify
from kannon.adapters.dns.exchangers import DnsExchangerLookup
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.core.keys import Purpose
from kannon.core.payloads import BatchAccepted
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.settings import DNS_SERVERS, NATS_URL, SENDER_ROUTES, STREAM_REPLICAS, Settings
from kannon.runtime.stage import START_PATIENCE, Stage, Wired


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/verify")
    nats = await connect(settings[NATS_URL], "verify", give_up_after=START_PATIENCE)
    await stack.enter_async_context(nats)
    publisher = NatsPublisher(nats, sealer, utc_now, settings[STREAM_REPLICAS])
    lookup = DnsExchangerLookup(settings[SENDER_ROUTES], settings[DNS_SERVERS])
    return Wired(Verify(lookup, publisher), sealer, (BatchAccepted,))


stage = Stage("verify", _build)


async def verify(request: Request) -> Response:
    """The function: takes `batch.accepted`."""
    return await stage.answer(request)
