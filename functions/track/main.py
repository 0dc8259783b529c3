"""Wires track: HTTP in, what readers did out."""

import uuid
from contextlib import AsyncExitStack

import msgspec

from functions.track.handler import Track
from functions.track.measured import measured
from functions.track.outgoing import Outgoing
from functions.track.protocol import Connections
from functions.track.tokens import Tokens
from functions.track.unsubscribing import Unsubscribing
from kannon.adapters.nats.connection import Connection
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.tracking_keys import PostgresTrackingKeys
from kannon.core.keys import Purpose
from kannon.core.tracking.clients import Proxies
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.metrics import metrics
from kannon.runtime.public import START_PATIENCE, PublicFunction, Service
from kannon.runtime.settings import (
    DATABASE_URL,
    NATS_URL,
    STREAM_REPLICAS,
    TRACK_TRUSTED_PROXIES,
    Settings,
)
from kannon.telemetry.catalogue import ENGAGEMENTS, ENGAGEMENTS_PENDING


def _new_id() -> str:
    return uuid.uuid4().hex


async def _build(settings: Settings, stack: AsyncExitStack) -> Service:
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/track")
    database = Database(settings[DATABASE_URL], size=1)
    await database.open(START_PATIENCE)
    stack.push_async_callback(database.close)
    nats = Connection(settings[NATS_URL], "track")
    nats.open_later()  # readers are answered without it
    stack.push_async_callback(nats.close)
    publisher = NatsPublisher(nats, sealer, utc_now, settings[STREAM_REPLICAS])
    outgoing = Outgoing(publisher)
    outgoing.start()
    stack.push_async_callback(outgoing.close)

    def state() -> bytes:
        return msgspec.json.encode({"function": "track", "nats": nats.is_up, **outgoing.counts()})

    async def look() -> None:
        counts = outgoing.counts()
        for result in ("published", "lost"):
            ENGAGEMENTS.add(counts[result] - ENGAGEMENTS.value(result), result)
        ENGAGEMENTS_PENDING.set(counts["pending"])

    track = Track(
        Tokens(PostgresTrackingKeys(database)),
        outgoing,
        Unsubscribing(publisher),
        Proxies(settings[TRACK_TRUSTED_PROXIES]),
        utc_now,
        _new_id,
        state,
    )
    return Connections(measured(track.answer, lambda: metrics(look)))


track = PublicFunction("track", _build)
