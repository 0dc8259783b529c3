"""Wires send: Envelopes in, to the edge."""

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from functions.send.handler import Send
from kannon.adapters.edge_client import GrpcEdgeClient
from kannon.adapters.envelope_codec import EnvelopeCodec
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.objects.opening import open_store
from kannon.core.keys import Purpose
from kannon.core.payloads import AnyPayload, EnvelopesReady
from kannon.events import Codec, Sealer
from kannon.runtime.attachments import store_place
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.settings import EDGE_TARGETS, NATS_URL, STREAM_REPLICAS, Settings
from kannon.runtime.stage import START_PATIENCE, Stage, Wired


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    codecs: dict[type[AnyPayload], Codec] = {EnvelopesReady: EnvelopeCodec()}
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/send", codecs)
    nats = await connect(settings[NATS_URL], "send", give_up_after=START_PATIENCE)
    await stack.enter_async_context(nats)
    publisher = NatsPublisher(nats, sealer, utc_now, settings[STREAM_REPLICAS])
    edge = GrpcEdgeClient(settings[EDGE_TARGETS])
    stack.push_async_callback(edge.close)
    store = open_store(store_place(settings))
    return Wired(Send(edge, publisher, store), sealer, (EnvelopesReady,))


stage = Stage("send", _build)


async def send(request: Request) -> Response:
    """The function: takes `envelopes.ready`."""
    return await stage.answer(request)
