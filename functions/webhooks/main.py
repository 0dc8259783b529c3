"""Wires webhooks: Outcomes and ticks in, posts out."""

from asyncio.sslproto import SSLProtocol
from contextlib import AsyncExitStack
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from functions.webhooks.handler import Webhooks
from functions.webhooks.posting import Posting
from kannon import __version__
from kannon.adapters.dns.exchangers import DnsExchangerLookup
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.webhooks import PostgresWebhookQueue
from kannon.adapters.webhook_client import MAX_ANSWER, HttpWebhookPoster
from kannon.core.keys import Purpose
from kannon.core.payloads import Outcomes
from kannon.events import Sealer
from kannon.runtime.keys import key_for
from kannon.runtime.settings import (
    DATABASE_URL,
    DNS_SERVERS,
    WEBHOOKS_ALLOW_NETWORKS,
    WEBHOOKS_RETENTION,
    WEBHOOKS_SUSPEND_AFTER,
    WEBHOOKS_TIMEOUT,
    Settings,
)
from kannon.runtime.stage import START_PATIENCE, Stage, Wired

USER_AGENT = f"Kannon-Webhooks/{__version__}"


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    # asyncio sets 256 KB aside for what each TLS connection may bring at once: 8 MB for all that are open.
    SSLProtocol.max_size = MAX_ANSWER
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/webhooks")
    secrets = key_for(settings, Purpose.WEBHOOK_SECRETS)
    timeout = settings[WEBHOOKS_TIMEOUT]
    dns = DnsExchangerLookup({}, settings[DNS_SERVERS], timeout=timeout.total_seconds() / 2)
    poster = HttpWebhookPoster(dns.addresses, settings[WEBHOOKS_ALLOW_NETWORKS], timeout.total_seconds())
    database = Database(settings[DATABASE_URL])
    await database.open(START_PATIENCE)
    stack.push_async_callback(database.close)
    queue = PostgresWebhookQueue(
        database,
        secrets,
        lease=2 * timeout + timedelta(seconds=30),
        suspend_after=settings[WEBHOOKS_SUSPEND_AFTER],
        retention=settings[WEBHOOKS_RETENTION],
    )
    posting = Posting(queue, poster, database.clock, USER_AGENT)
    stack.push_async_callback(posting.close)
    posting.nudge()
    webhooks = Webhooks(queue, posting, database.clock)
    return Wired(webhooks, sealer, (Outcomes,), on_tick=webhooks)


stage = Stage("webhooks", _build)


async def webhooks(request: Request) -> Response:
    """The function: takes Outcomes and ticks."""
    return await stage.answer(request)
