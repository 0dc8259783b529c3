"""The procedures of `Api` for webhooks. They are ours."""

import os
import secrets
from collections.abc import Sequence
from datetime import datetime

from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from api_gateway.timestamps import read_timestamp, write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.errors import BadInput, Conflict
from kannon.core.exchangers import IpNetwork
from kannon.core.webhooks import (
    MAX_DESCRIPTION,
    MAX_PER_DOMAIN,
    OLD_SECRET_LIFE,
    SECRET_BYTES,
    TYPES,
    Endpoint,
    Health,
    check_endpoint,
    check_event,
    written_secret,
)
from kannon.ports import Clock, Directory, WebhookDelivery, WebhookRecord, Webhooks

DEFAULT_TAKE = 100
MAX_TAKE = 1000
MAX_REDELIVERED = 10_000
"""Of one call."""
_STATES = ("owed", "delivered", "failed")
_LAST = 2**63 - 1


class WebhookDesk:
    """Shows a Domain's webhooks and what was posted to them, adds, tests and deletes them.

    Args:
        allowed: networks that may be posted to though they are not public, and without TLS.
    """

    def __init__(
        self, directory: Directory, webhooks: Webhooks, allowed: Sequence[IpNetwork], clock: Clock
    ) -> None:
        self._directory = directory
        self._webhooks = webhooks
        self._allowed = allowed
        self._clock = clock

    async def create_webhook(self, request: pb.CreateWebhookReq, _call: Call) -> pb.CreateWebhookRes:
        """Add a webhook; raises BadInput, NotFound and Conflict."""
        domain, now = await self._known(request.domain), self._clock()
        check_endpoint(Endpoint.parse(request.url), self._allowed)
        if len(request.description) > MAX_DESCRIPTION or "\0" in request.description:
            raise BadInput(f"description: must have at most {MAX_DESCRIPTION} characters, and no NUL")
        webhook = WebhookRecord(
            id=f"wh_{secrets.token_hex(10)}",
            domain=domain,
            url=request.url,
            types=_types(request.types),
            description=request.description,
            created_at=now,
            health=Health.of_new(now),
        )
        secret = os.urandom(SECRET_BYTES)
        if not await self._webhooks.add(webhook, secret):
            raise Conflict(f"the domain {domain} has {MAX_PER_DOMAIN} webhooks already")
        return pb.CreateWebhookRes(webhook=_written(webhook, now), secret=written_secret(secret))

    async def list_webhooks(self, request: pb.ListWebhooksReq, _call: Call) -> pb.ListWebhooksRes:
        """All of a Domain; raises BadInput and NotFound."""
        found = await self._webhooks.of_domain(await self._known(request.domain))
        return pb.ListWebhooksRes(webhooks=[_written(one, self._clock()) for one in found])

    async def get_webhook(self, request: pb.GetWebhookReq, _call: Call) -> pb.GetWebhookRes:
        """One, and how it is doing; raises BadInput and NotFound."""
        webhook = await self._webhook(request.domain, request.webhook_id)
        return pb.GetWebhookRes(webhook=_written(webhook, self._clock()))

    async def delete_webhook(self, request: pb.DeleteWebhookReq, _call: Call) -> pb.DeleteWebhookRes:
        """Delete one; raises BadInput and NotFound."""
        domain, now = await self._known(request.domain), self._clock()
        deleted = await self._webhooks.delete(domain, _id(request.webhook_id), now)
        if deleted is None:
            raise _no_webhook(domain)
        return pb.DeleteWebhookRes(webhook=_written(deleted, now))

    async def try_webhook(self, request: pb.TestWebhookReq, _call: Call) -> pb.TestWebhookRes:
        """Have a test posted; raises BadInput and NotFound."""
        domain, now = await self._known(request.domain), self._clock()
        event_id, webhook_id = secrets.token_hex(16), _id(request.webhook_id)
        body = check_event(event_id, webhook_id, domain, now)
        owed = await self._webhooks.test(domain, webhook_id, event_id, body, now)
        if owed is None:
            raise _no_webhook(domain)
        return pb.TestWebhookRes(delivery=_logged(owed, now))

    async def rotate_webhook_secret(
        self, request: pb.RotateWebhookSecretReq, _call: Call
    ) -> pb.RotateWebhookSecretRes:
        """Give one a new secret; raises BadInput and NotFound."""
        domain, now = await self._known(request.domain), self._clock()
        secret, old_until = os.urandom(SECRET_BYTES), now if request.at_once else now + OLD_SECRET_LIFE
        rotated = await self._webhooks.rotate(domain, _id(request.webhook_id), secret, old_until)
        if rotated is None:
            raise _no_webhook(domain)
        return pb.RotateWebhookSecretRes(webhook=_written(rotated, now), secret=written_secret(secret))

    async def list_webhook_deliveries(
        self, request: pb.ListWebhookDeliveriesReq, _call: Call
    ) -> pb.ListWebhookDeliveriesRes:
        """A page of the log, newest first; raises BadInput and NotFound."""
        take = read_take(request.take, DEFAULT_TAKE, MAX_TAKE)
        if request.state and request.state not in _STATES:
            raise BadInput(f"state: must be one of {', '.join(_STATES)}")
        webhook = await self._webhook(request.domain, request.webhook_id)
        before = min(request.before, _LAST) or _LAST
        # One more than asked for tells whether there is another page.
        found = await self._webhooks.deliveries(webhook, request.state, before, take + 1)
        now, shown = self._clock(), found[:take]
        return pb.ListWebhookDeliveriesRes(
            deliveries=[_logged(one, now) for one in shown],
            next=shown[-1].number if len(found) > take else 0,
        )

    async def redeliver_webhook(self, request: pb.RedeliverWebhookReq, _call: Call) -> pb.RedeliverWebhookRes:
        """Have events of the log posted once more; raises BadInput and NotFound."""
        webhook, now = await self._webhook(request.domain, request.webhook_id), self._clock()
        if bool(request.number) == request.HasField("failed_since"):
            raise BadInput("number: give either this or failed_since")
        if not request.number:
            since = read_timestamp("failed_since", request.failed_since)
            owed = await self._webhooks.redeliver_failed(webhook, since, MAX_REDELIVERED, now)
            return pb.RedeliverWebhookRes(owed=owed)
        if request.number > _LAST or not await self._webhooks.redeliver(webhook, request.number, now):
            raise NotFound("number: the webhook has no such delivery in its log")
        return pb.RedeliverWebhookRes(owed=1)

    async def _known(self, name: str) -> str:
        domain = read_domain(name)
        if await self._directory.domain(domain) is None:
            raise NotFound(f"there is no domain {domain}")
        return domain

    async def _webhook(self, domain_name: str, webhook_id: str) -> WebhookRecord:
        domain = await self._known(domain_name)
        found = await self._webhooks.webhook(domain, _id(webhook_id))
        if found is None:
            raise _no_webhook(domain)
        return found


def _id(text: str) -> str:
    if "\0" in text:
        raise BadInput("webhook_id: must not hold NUL")
    return text


def _types(given: Sequence[str]) -> Sequence[str]:
    for name in given:
        if name not in TYPES:
            raise BadInput(f"types: must be among {', '.join(TYPES)}")
    return sorted(set(given))


def _no_webhook(domain: str) -> NotFound:
    return NotFound(f"webhook_id: the domain {domain} has no such webhook")


def _written(webhook: WebhookRecord, now: datetime) -> pb.Webhook:
    health, old_until = webhook.health, webhook.old_secret_until
    return pb.Webhook(
        webhook_id=webhook.id,
        domain=webhook.domain,
        url=webhook.url,
        types=webhook.types,
        description=webhook.description,
        created_at=write_timestamp(webhook.created_at),
        state=health.state,
        failures=health.failures,
        failing_since=write_timestamp(health.failing_since) if health.failing_since else None,
        suspended_at=write_timestamp(health.suspended_at) if health.suspended_at else None,
        suspended_for=health.suspended_for,
        old_secret_until=write_timestamp(old_until) if old_until and old_until > now else None,
    )


def _logged(delivery: WebhookDelivery, now: datetime) -> pb.WebhookDelivery:
    last_at, due_at = delivery.last_attempt_at, delivery.due_at
    return pb.WebhookDelivery(
        number=delivery.number,
        event_id=delivery.event_id,
        type=delivery.type,
        created_at=write_timestamp(delivery.created_at),
        state=delivery.state,
        next_attempt_at=write_timestamp(max(due_at, now)) if due_at else None,
        attempts=delivery.attempts,
        last_attempt_at=write_timestamp(last_at) if last_at else None,
        status=delivery.status,
        error=delivery.error,
        milliseconds=delivery.milliseconds,
        body=delivery.body,
    )
