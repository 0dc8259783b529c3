"""Deliveries looked at in PostgreSQL: implements `ports.DeliveryQueries`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.adapters.postgres.stats_queries import stats_row
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.slices import Extent, Reach, Slice, reach
from kannon.ports import OUTCOMES_SHOWN, DeliveryFilter, DeliveryPage, DeliveryRecord, StatsRow

SQL = queries("delivery_queries")
DELIVERIES_AT_ONCE = 100_000
"""Looked at for one page, in some 15 ms when PostgreSQL has them in memory."""
BATCHES_AT_ONCE = 10_000
"""Looked at for one page: a Domain may send a Batch for each mail."""


class PostgresDeliveryQueries:
    """Walks through Batches, slice by slice.

    Args:
        deliveries_at_once: looked at for one page.
        batches_at_once: looked at for one page, 2 or more.
    """

    def __init__(
        self,
        database: Database,
        deliveries_at_once: int = DELIVERIES_AT_ONCE,
        batches_at_once: int = BATCHES_AT_ONCE,
    ) -> None:
        self._database = database
        self._deliveries_at_once = deliveries_at_once
        self._batches_at_once = batches_at_once

    async def batch(self, domain: str, message_id: str) -> int | None:
        """See `ports.DeliveryQueries`."""
        wanted = {"domain": domain, "message_id": message_id}
        async with self._database.transaction() as connection:
            row = await (await connection.execute(SQL["batch"], wanted)).fetchone()
        return row["number"] if row else None

    async def page(self, wanted: DeliveryFilter, start: DeliveryId | None, take: int) -> DeliveryPage:
        """See `ports.DeliveryQueries`."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            await connection.execute(SQL["reach_rows_by_index"])
            look = await self._reach(connection, wanted, start)
            # One more than asked for tells whether there is another page, and where it begins.
            rows = await _rows(connection, wanted, look.slices, take + 1)
            outcomes = await _outcomes(connection, rows[:take])
        after = _id(rows[take]) if len(rows) > take else look.next
        return DeliveryPage([_record(row, outcomes[_id(row)]) for row in rows[:take]], after)

    async def total(self, wanted: DeliveryFilter) -> int:
        """See `ports.DeliveryQueries`."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(SQL["total"], _parameters(wanted))).fetchone()
        return row["total"] if row else 0

    async def _reach(self, connection: Connection, wanted: DeliveryFilter, start: DeliveryId | None) -> Reach:
        place = {"start": start.batch if start else None, "limit": self._batches_at_once}
        name = "extents" if wanted.batch is None else "extent"
        rows = await (await connection.execute(SQL[name], _parameters(wanted) | place)).fetchall()
        extents = [Extent(**row) for row in rows]
        look = reach(extents, start, self._deliveries_at_once)
        if look.next is None and len(extents) == self._batches_at_once:
            return Reach(look.slices, DeliveryId(extents[-1].batch, extents[-1].recipients))
        return look


def _parameters(wanted: DeliveryFilter) -> dict[str, Any]:
    return {
        "domain": wanted.domain,
        "batch": wanted.batch,
        "email": wanted.email,
        "status": wanted.status.value if wanted.status else None,
        "since": wanted.since,
    }


async def _rows(
    connection: Connection, wanted: DeliveryFilter, slices: Sequence[Slice], limit: int
) -> Sequence[dict[str, Any]]:
    if not slices:
        return []
    places = {
        "batches": [part.batch for part in slices],
        "firsts": [part.first for part in slices],
        "ends": [part.end for part in slices],
        "limit": limit,
    }
    return await (await connection.execute(SQL["page"], _parameters(wanted) | places)).fetchall()


async def _outcomes(
    connection: Connection, rows: Sequence[dict[str, Any]]
) -> dict[DeliveryId, list[StatsRow]]:
    found: dict[DeliveryId, list[StatsRow]] = defaultdict(list)
    if rows:
        names = {
            "batches": [row["batch"] for row in rows],
            "seqs": [row["seq"] for row in rows],
            "each": OUTCOMES_SHOWN,
        }
        for row in await (await connection.execute(SQL["outcomes"], names)).fetchall():
            found[DeliveryId(row.pop("batch"), row.pop("seq"))].append(stats_row(row))
    return found


def _id(row: dict[str, Any]) -> DeliveryId:
    return DeliveryId(row["batch"], row["seq"])


def _record(row: dict[str, Any], outcomes: Sequence[StatsRow]) -> DeliveryRecord:
    return DeliveryRecord(
        id=_id(row),
        message_id=row["message_id"],
        email=row["email"],
        status=Status(row["status"]),
        attempts=row["attempts"],
        due_at=row["due_at"],
        expires_at=row["expires_at"],
        outcomes=tuple(outcomes),
        cancelled_at=row["cancelled_at"],
    )
