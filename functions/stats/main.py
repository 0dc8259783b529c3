"""Wires stats: results, reports and engagements in, ledger and statistics out."""

import random
import uuid
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from functions.stats.deciding import RetryRules
from functions.stats.handler import Stats
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.outbox import PostgresOutbox
from kannon.core.keys import Purpose
from kannon.core.payloads import (
    EngagementsSeen,
    EnvelopesUntaken,
    ReportJudged,
    TransmissionsDelivered,
    TransmissionsJudged,
)
from kannon.core.retries import RetrySchedule
from kannon.events import Sealer
from kannon.runtime.clock import utc_now
from kannon.runtime.keys import key_for
from kannon.runtime.settings import (
    DATABASE_URL,
    NATS_URL,
    SENDER_RETRY_BASE,
    SENDER_RETRY_MAX,
    SENDER_RETRY_MIN,
    STREAM_REPLICAS,
    Settings,
)
from kannon.runtime.stage import START_PATIENCE, Stage, Wired
from kannon.runtime.suppression import suppression_rules


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/stats")
    nats = await connect(settings[NATS_URL], "stats", give_up_after=START_PATIENCE)
    await stack.enter_async_context(nats)
    publisher = NatsPublisher(nats, sealer, utc_now, settings[STREAM_REPLICAS])
    database = Database(settings[DATABASE_URL])
    await database.open(START_PATIENCE)
    stack.push_async_callback(database.close)
    outbox = PostgresOutbox(database, publisher)
    stack.push_async_callback(outbox.close)
    deferred = RetrySchedule(
        settings[SENDER_RETRY_BASE], settings[SENDER_RETRY_MIN], settings[SENDER_RETRY_MAX]
    )
    stats = Stats(
        PostgresLedger(database),
        publisher,
        outbox,
        RetryRules(deferred),
        database.clock,
        nonce=lambda: uuid.uuid4().hex,
        chance=random.random,
        suppression=suppression_rules(settings),
    )
    accepts = (EnvelopesUntaken, TransmissionsDelivered, TransmissionsJudged, ReportJudged, EngagementsSeen)
    return Wired(stats, sealer, accepts)


stage = Stage("stats", _build)


async def stats(request: Request) -> Response:
    """The function: takes results of transmissions, reports, and what readers did."""
    return await stage.answer(request)
