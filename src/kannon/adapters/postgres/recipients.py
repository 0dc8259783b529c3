"""All that PostgreSQL keeps of one Recipient: implements `ports.RecipientData`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.adapters.postgres.suppressions import suppression_of, write_suppressions
from kannon.core.addresses import canonical
from kannon.core.deliveries import TERMINAL, WAITING, DeliveryId, Status
from kannon.core.erasure import ERASED, PERSONAL, hashed, spellings
from kannon.ports import Erased

SQL = {
    **queries("recipients"),
    "reach_rows_by_index": queries("delivery_queries")["reach_rows_by_index"],
}
BATCHES_AT_ONCE = 1000
RECIPIENTS_AT_ONCE = 100_000
"""Rows looked at in one transaction, but for a Batch that has more by itself."""

_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), 0)
_WAITING = list(WAITING)


class PostgresRecipientData:
    """Walks through a Domain's Batches, some at a time, each a transaction.

    Args:
        batches_at_once: for one transaction.
    """

    def __init__(self, database: Database, batches_at_once: int = BATCHES_AT_ONCE) -> None:
        self._database = database
        self._batches_at_once = batches_at_once

    async def records(self, domain: str, address: str) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """See `ports.RecipientData`."""
        ids: list[DeliveryId] = []
        async for batches in self._walk(domain):
            wanted = {"batches": batches, "spellings": spellings(address)}
            async with self._database.transaction() as connection:
                await connection.execute(SQL["reach_rows_by_index"])
                rows = await _all(connection, "deliveries", wanted)
                found = [DeliveryId(row["batch"], row["seq"]) for row in rows]
                outcomes = await _all(connection, "outcomes", _places(found)) if found else []
            ids += found
            yield [_record("delivery", row) for row in rows] + [_record("outcome", row) for row in outcomes]
        own = canonical(address)
        async with self._database.transaction() as connection:
            reports = await _all(connection, "reports", _about(domain, address, ids))
            posts = await _all(connection, "webhook_deliveries", _addressed(domain, address))
            bounces = await _all(connection, "soft_bounces", {"domain": domain, "address": own})
            suppressions = await _all(
                connection, "suppressions", {"domain": domain, "addresses": [own, hashed(domain, own)]}
            )
        yield (
            [_record("report", row) for row in reports]
            + [_record("webhook_delivery", row) for row in posts]
            + [_record("soft_bounce", row) for row in bounces]
            + [_record("suppression", row) for row in suppressions]
        )

    async def deliveries(self, domain: str, address: str) -> Sequence[DeliveryId]:
        """See `ports.RecipientData`."""
        found: list[DeliveryId] = []
        async for batches in self._walk(domain):
            async with self._database.transaction() as connection:
                await connection.execute(SQL["reach_rows_by_index"])
                rows = await _all(
                    connection, "deliveries", {"batches": batches, "spellings": spellings(address)}
                )
            found += [DeliveryId(row["batch"], row["seq"]) for row in rows]
        return found

    async def erase(self, domain: str, address: str, now: datetime) -> Erased:
        """See `ports.RecipientData`."""
        erased, ids = Erased(), list[DeliveryId]()
        async for batches in self._walk(domain):
            async with self._database.transaction() as connection:
                await connection.execute(SQL["reach_rows_by_index"])
                erased += await _erase_mails(connection, batches, address, ids)
        async with self._database.transaction() as connection:
            reports = await _all(connection, "reports", _about(domain, address, ids))
            await connection.execute(SQL["drop_reports"], {"numbers": [row["number"] for row in reports]})
            await connection.execute(SQL["drop_webhook_deliveries"], _addressed(domain, address))
            kept = await _keep_as_hash(connection, domain, canonical(address), now)
        return erased + Erased(reports=len(reports), suppressions=kept)

    async def _walk(self, domain: str) -> AsyncIterator[Sequence[int]]:
        after = _BEGINNING
        while True:
            place = {"domain": domain, "after_time": after[0], "after": after[1]}
            async with self._database.transaction() as connection:
                rows = await _all(connection, "batches", place | {"limit": self._batches_at_once})
            chosen = _some(rows)
            if not chosen:
                return
            yield [row["number"] for row in chosen]
            after = (chosen[-1]["created_at"], chosen[-1]["number"])


async def _erase_mails(
    connection: Connection, batches: Sequence[int], address: str, ids: list[DeliveryId]
) -> Erased:
    rows = await _all(connection, "hold", {"batches": batches, "spellings": spellings(address)})
    waiting = [row for row in rows if Status(row["status"]) in WAITING and row["untouched"]]
    ended = [row for row in rows if Status(row["status"]) in TERMINAL]
    gone = [DeliveryId(row["batch"], row["seq"]) for row in waiting + ended]
    ids += gone
    changed = {"erased": ERASED, **_places(gone)}
    await connection.execute(SQL["erase_deliveries"], changed | {"waiting": _WAITING})
    outcomes = await connection.execute(SQL["erase_outcomes"], changed | {"personal": list(PERSONAL)})
    return Erased(
        deliveries=len(gone),
        cancelled=len(waiting),
        in_hand=len(rows) - len(gone),
        outcomes=outcomes.rowcount,
    )


async def _keep_as_hash(connection: Connection, domain: str, address: str, now: datetime) -> int:
    place = {"domain": domain, "address": address}
    rows = await _all(connection, "suppressions", {"domain": domain, "addresses": [address]})
    known = [suppression_of(row) for row in rows]
    await connection.execute(SQL["drop_suppression"], place)
    await connection.execute(SQL["drop_soft_bounces"], place)
    kept = [replace(one, address=hashed(domain, address), message_id="", detail="") for one in known]
    if kept:
        await write_suppressions(connection, kept, now)
    return len(kept)


def _some(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """As many Batches as may be looked at together, one at the least."""
    total = 0
    for at, row in enumerate(rows):
        total += row["recipients"]
        if at and total > RECIPIENTS_AT_ONCE:
            return rows[:at]
    return rows


def _places(ids: Sequence[DeliveryId]) -> dict[str, list[int]]:
    return {"batches": [one.batch for one in ids], "seqs": [one.seq for one in ids]}


def _about(domain: str, address: str, ids: Sequence[DeliveryId]) -> dict[str, Any]:
    return {**_addressed(domain, address), **_places(ids)}


def _addressed(domain: str, address: str) -> dict[str, Any]:
    return {"domain": domain, "spellings": spellings(address)}


async def _all(connection: Connection, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return await (await connection.execute(SQL[query], values, prepare=False)).fetchall()


def _record(kind: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"kind": kind, **row}
