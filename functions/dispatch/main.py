"""Wires dispatch: verdicts, claims and ticks in, Envelopes out."""

import os
import uuid
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from functions.dispatch.building import Keys
from functions.dispatch.collecting import Collector
from functions.dispatch.emitting import Emitter
from functions.dispatch.handler import Dispatch
from functions.dispatch.marking import TokenMaker
from functions.dispatch.signing import TokenSigner
from functions.dispatch.tick import Tick
from kannon.adapters.envelope_codec import EnvelopeCodec
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher, NatsStreams
from kannon.adapters.objects.opening import open_store
from kannon.adapters.postgres.attachments import PostgresAttachmentUses
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.outbox import PostgresOutbox
from kannon.adapters.postgres.statistics_upkeep import PostgresStatisticsUpkeep
from kannon.adapters.postgres.tracking_keys import PostgresTrackingKeys
from kannon.core.keys import Purpose
from kannon.core.payloads import AnyPayload, DeliveriesDue, EnvelopesReady, RecipientsVerified
from kannon.events import Codec, Sealer
from kannon.runtime.attachments import store_place
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.settings import (
    DATABASE_URL,
    DISPATCH_IN_HAND,
    DISPATCH_LEASE,
    EDGE_TARGETS,
    NATS_URL,
    SENDER_MAX_MESSAGE,
    SMTP_UNSUBSCRIBING,
    STATS_RETENTION,
    STREAM_REPLICAS,
    Settings,
)
from kannon.runtime.stage import START_PATIENCE, Stage, Wired


def _nonce() -> str:
    return uuid.uuid4().hex


def _random_name() -> str:
    return os.urandom(10).hex()


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    codecs: dict[type[AnyPayload], Codec] = {EnvelopesReady: EnvelopeCodec()}
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/dispatch", codecs)
    keys = Keys(
        key_for(settings, Purpose.ENVELOPES),
        key_for(settings, Purpose.RETURN_PATHS),
        unsubscribing=settings[SMTP_UNSUBSCRIBING],
    )
    replicas, lease = settings[STREAM_REPLICAS], settings[DISPATCH_LEASE]
    nats = await connect(settings[NATS_URL], "dispatch", give_up_after=START_PATIENCE)
    await stack.enter_async_context(nats)
    publisher, streams = NatsPublisher(nats, sealer, utc_now, replicas), NatsStreams(nats, replicas)
    database = Database(settings[DATABASE_URL], size=6)
    await database.open(START_PATIENCE)
    stack.push_async_callback(database.close)
    ledger = PostgresLedger(database, key_for(settings, Purpose.DKIM_KEYS), settings[DISPATCH_IN_HAND], lease)
    outbox = PostgresOutbox(database, publisher)
    stack.push_async_callback(outbox.close)
    tracking_keys = PostgresTrackingKeys(database, key_for(settings, Purpose.TRACKING_KEYS))
    signer = TokenSigner(tracking_keys, database.clock)
    tokens = TokenMaker(signer.mint, _random_name)
    store = open_store(store_place(settings))
    emitter = Emitter(
        publisher, keys, list(settings[EDGE_TARGETS]), tokens, store, settings[SENDER_MAX_MESSAGE]
    )
    dispatch = Dispatch(ledger, publisher, emitter, signer, outbox, database.clock, _nonce)
    upkeep = PostgresStatisticsUpkeep(database, settings[STATS_RETENTION])
    collector = Collector(store, PostgresAttachmentUses(database))
    tick = Tick(
        ledger,
        ledger,
        upkeep,
        streams,
        streams,
        publisher,
        signer,
        outbox,
        database.clock,
        _nonce,
        collector,
    )
    return Wired(dispatch, sealer, (RecipientsVerified, DeliveriesDue), on_tick=tick)


stage = Stage("dispatch", _build)


async def dispatch(request: Request) -> Response:
    """The function: takes `recipients.verified`, `deliveries.due` and ticks."""
    return await stage.answer(request)
