"""Wires track: HTTP in, what readers did out."""

import uuid
from contextlib import AsyncExitStack

import msgspec

from functions.track.asgi import TrackApp
from functions.track.handler import Track
from functions.track.outgoing import Outgoing
from functions.track.unsubscribing import Unsubscribing
from kannon.adapters.nats.connection import Connection
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.core.keys import Purpose
from kannon.core.tracking.clients import Proxies
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.public import App, PublicFunction
from kannon.runtime.settings import NATS_URL, STREAM_REPLICAS, TRACK_TRUSTED_PROXIES, Settings


def _new_id() -> str:
    return uuid.uuid4().hex


async def _build(settings: Settings, stack: AsyncExitStack) -> App:
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/track")
    nats = Connection(settings[NATS_URL], "track")
    nats.open_later()
    stack.push_async_callback(nats.close)
    publisher = NatsPublisher(nats, sealer, utc_now, settings[STREAM_REPLICAS])
    outgoing = Outgoing(publisher)
    outgoing.start()
    stack.push_async_callback(outgoing.close)
    proxies = Proxies(settings[TRACK_TRUSTED_PROXIES])
    tokens = None
    track = Track(tokens, outgoing, Unsubscribing(publisher), proxies, utc_now, _new_id)

    def state() -> bytes:
        return msgspec.json.encode(
            {"function": "track", "ready": True, "nats": nats.is_up, **outgoing.counts()},
        )

    return TrackApp(track, state)


track = PublicFunction("track", _build)
