"""Webhooks in PostgreSQL: implements `ports.Webhooks`, and `ports.WebhookQueue`."""

import logging
import os
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Connection, Database, as_json, queries
from kannon.core.keys import NONCE_BYTES, SealBroken, open_sealed, seal
from kannon.core.webhooks import (
    BUDGET,
    MAX_PER_DOMAIN,
    TEST_TYPE,
    TROUBLED_FROM,
    Health,
    PostResult,
    health_after,
    next_try_at,
)
from kannon.ports import Claimed, WebhookDelivery, WebhookEvent, WebhookRecord

log = logging.getLogger(__name__)
SQL = queries("webhooks")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Due before all else."""
PER_ENDPOINT: Final = 8
"""Posts to one endpoint at once, by one process."""
KEPT_AT_ONCE: Final = 5000
_HEALTH = tuple(field.name for field in fields(Health))
_DELIVERY = tuple(field.name for field in fields(WebhookDelivery))


class PostgresWebhooks:
    """Webhooks as their owners see them, their secrets sealed in the context of their ids.

    Args:
        sealing_key: the subkey for that.
    """

    def __init__(self, database: Database, sealing_key: bytes) -> None:
        self._database = database
        self._sealing_key = sealing_key

    async def add(self, webhook: WebhookRecord, secret: bytes) -> bool:
        """See `ports.Webhooks`."""
        values = {
            "id": webhook.id,
            "domain": webhook.domain,
            "url": webhook.url,
            "types": list(webhook.types),
            "description": webhook.description,
            "now": webhook.created_at,
            "secret": self._sealed(webhook.id, secret),
            "most": MAX_PER_DOMAIN,
        }
        return await self._one("add", values) is not None

    async def webhook(self, domain: str, webhook_id: str) -> WebhookRecord | None:
        """See `ports.Webhooks`."""
        return _record(await self._one("webhook", {"domain": domain, "id": webhook_id}))

    async def of_domain(self, domain: str) -> Sequence[WebhookRecord]:
        """See `ports.Webhooks`."""
        async with self._database.statement() as connection:
            rows = await (await connection.execute(SQL["of_domain"], {"domain": domain})).fetchall()
        return [record for record in map(_record, rows) if record is not None]

    async def delete(self, domain: str, webhook_id: str, now: datetime) -> WebhookRecord | None:
        """See `ports.Webhooks`."""
        return _record(await self._one("delete", {"domain": domain, "id": webhook_id, "now": now}))

    async def rotate(
        self, domain: str, webhook_id: str, secret: bytes, old_until: datetime
    ) -> WebhookRecord | None:
        """See `ports.Webhooks`."""
        sealed = self._sealed(webhook_id, secret)
        values = {"domain": domain, "id": webhook_id, "secret": sealed, "old_until": old_until}
        return _record(await self._one("rotate", values))

    async def test(
        self, domain: str, webhook_id: str, event_id: str, body: str, now: datetime
    ) -> WebhookDelivery | None:
        """See `ports.Webhooks`."""
        async with self._database.transaction() as connection:
            if not await _woken(connection, domain, webhook_id, now):
                return None
            values = {
                "webhook": webhook_id,
                "event_id": event_id,
                "type": TEST_TYPE,
                "body": body,
                "now": now,
                "first": _FIRST,
                "give_up_at": now + BUDGET,
            }
            return _delivery(await (await connection.execute(SQL["owe_one"], values)).fetchone())

    async def deliveries(
        self, webhook: WebhookRecord, state: str, before: int, take: int
    ) -> Sequence[WebhookDelivery]:
        """See `ports.Webhooks`."""
        values = {"webhook": webhook.id, "state": state, "before": before, "limit": take}
        async with self._database.statement() as connection:
            rows = await (await connection.execute(SQL["log"], values)).fetchall()
        return [delivery for delivery in map(_delivery, rows) if delivery is not None]

    async def redeliver(self, webhook: WebhookRecord, number: int, now: datetime) -> WebhookDelivery | None:
        """See `ports.Webhooks`."""
        async with self._database.transaction() as connection:
            if not await _woken(connection, webhook.domain, webhook.id, now):
                return None
            values = {"webhook": webhook.id, "number": number, "first": _FIRST, "give_up_at": now + BUDGET}
            return _delivery(await (await connection.execute(SQL["redeliver"], values)).fetchone())

    async def redeliver_failed(
        self, webhook: WebhookRecord, since: datetime, most: int, now: datetime
    ) -> int:
        """See `ports.Webhooks`."""
        async with self._database.transaction() as connection:
            if not await _woken(connection, webhook.domain, webhook.id, now):
                return 0
            values = {"webhook": webhook.id, "since": since, "most": most}
            values |= {"now": now, "give_up_at": now + BUDGET}
            return (await connection.execute(SQL["redeliver_failed"], values)).rowcount

    def _sealed(self, webhook_id: str, secret: bytes) -> bytes:
        return seal(self._sealing_key, secret, os.urandom(NONCE_BYTES), webhook_id)

    async def _one(self, query: str, values: Mapping[str, Any]) -> DictRow | None:
        async with self._database.statement() as connection:
            return await (await connection.execute(SQL[query], values)).fetchone()


class PostgresWebhookQueue:
    """What is owed to webhooks.

    Args:
        sealing_key: the subkey under which their secrets are sealed.
        lease: after which a try without a result counts as lost; longer than a try may take.
        suspend_after: an endpoint that fails for so long is suspended.
        retention: how long the log is kept.
        chance: gives numbers from 0.0 up to 1.0.
    """

    def __init__(
        self,
        database: Database,
        sealing_key: bytes,
        *,
        lease: timedelta,
        suspend_after: timedelta,
        retention: timedelta,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sealing_key = sealing_key
        self._lease = lease
        self._suspend_after = suspend_after
        self._retention = retention
        self._chance = chance

    async def wanting(self, domains: Collection[str], type_: str) -> Collection[str]:
        """See `ports.WebhookQueue`."""
        async with self._database.statement() as connection:
            found = await connection.execute(SQL["wanting"], {"domains": list(domains), "type": type_})
            return {row["domain"] for row in await found.fetchall()}

    async def owe(self, type_: str, events: Sequence[WebhookEvent], now: datetime) -> None:
        """See `ports.WebhookQueue`."""
        rows = [(one.domain, one.id, one.recipient, one.body, one.at) for one in events]
        values = {"type": type_, "events": as_json(rows), "now": now, "give_up_at": now + BUDGET}
        async with self._database.statement() as connection:
            await connection.execute(SQL["owe"], values)

    async def claim(
        self, limit: int, now: datetime, under_way: Mapping[str, int], *, troubled: bool
    ) -> Sequence[Claimed]:
        """See `ports.WebhookQueue`; whose secrets were sealed with another key is left out, and logged."""
        values = {
            "limit": limit,
            "now": now,
            "troubled": troubled,
            "troubled_from": TROUBLED_FROM,
            "per_endpoint": 1 if troubled else PER_ENDPOINT,
            "under_way": as_json(under_way),
            "lease_end": now + self._lease,
        }
        async with self._database.statement() as connection:
            rows = await (await connection.execute(SQL["claim"], values)).fetchall()
        return [claimed for claimed in map(self._claimed, rows) if claimed is not None]

    async def record(self, answers: Sequence[tuple[Claimed, PostResult]], now: datetime) -> Sequence[str]:
        """See `ports.WebhookQueue`."""
        async with self._database.transaction() as connection:
            # A crash that loses this commit only repeats the same posts: do not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit = off")
            ids = sorted({claimed.webhook for claimed, _ in answers})
            rows = await (await connection.execute(SQL["hold"], {"ids": ids})).fetchall()
            before = {row["id"]: _health(row) for row in rows}
            after = dict(before)
            for claimed, answer in answers:
                if claimed.webhook in after:
                    known = after[claimed.webhook]
                    after[claimed.webhook] = health_after(
                        known, answer, now, self._suspend_after, self._chance()
                    )
            changed = {name: one for name, one in after.items() if one != before[name]}
            if changed:
                healths = [
                    (name, *(getattr(one, field) for field in _HEALTH)) for name, one in changed.items()
                ]
                await connection.execute(SQL["note_health"], {"healths": as_json(healths)})
            results = [self._result(claimed, answer, now) for claimed, answer in answers]
            await connection.execute(SQL["note_results"], {"results": as_json(results), "now": now})
        return [name for name, one in changed.items() if one.suspended_at and not before[name].suspended_at]

    async def keep(self, now: datetime) -> None:
        """See `ports.WebhookQueue`."""
        values = {"now": now, "before": now - self._retention, "limit": KEPT_AT_ONCE}
        async with self._database.statement() as connection:
            for query in ("give_up", "forget", "drop"):
                await connection.execute(SQL[query], values)

    def _claimed(self, row: DictRow) -> Claimed | None:
        sealed = [row["secret"], *filter(None, [row["old_secret"]])]
        try:
            secrets = [open_sealed(self._sealing_key, one, row["webhook"]) for one in sealed]
        except SealBroken as error:
            log.error(
                "a webhook cannot be signed for", extra={"webhook": row["webhook"], "reason": str(error)}
            )
            return None
        return Claimed(
            number=row["number"],
            webhook=row["webhook"],
            domain=row["domain"],
            event_id=row["event_id"],
            url=row["url"],
            body=row["body"],
            attempt=row["attempts"],
            secrets=secrets,
            give_up_at=row["give_up_at"],
        )

    def _result(self, claimed: Claimed, answer: PostResult, now: datetime) -> tuple[object, ...]:
        due_at = None
        if not answer.is_good:
            due_at = next_try_at(claimed.attempt, answer, now, claimed.give_up_at, self._chance())
        state = "delivered" if answer.is_good else "owed" if due_at else "failed"
        took = int(answer.took.total_seconds() * 1000)
        return claimed.number, claimed.attempt, state, due_at, answer.status, answer.reason, took


async def _woken(connection: Connection, domain: str, webhook_id: str, now: datetime) -> bool:
    values = {"domain": domain, "id": webhook_id, "now": now}
    return (await connection.execute(SQL["wake"], values)).rowcount > 0


def _health(row: DictRow) -> Health:
    return Health(**{name: row[name] for name in _HEALTH})


def _record(row: DictRow | None) -> WebhookRecord | None:
    if row is None:
        return None
    names = ("id", "domain", "url", "types", "description", "created_at", "old_secret_until")
    return WebhookRecord(**{name: row[name] for name in names}, health=_health(row))


def _delivery(row: DictRow | None) -> WebhookDelivery | None:
    return WebhookDelivery(**{name: row[name] for name in _DELIVERY}) if row else None
