"""Whole Batches in PostgreSQL: implements `ports.Batches`; and what the tick does of the same."""

from datetime import datetime
from typing import Any

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.core.deliveries import WAITING, Status
from kannon.ports import BatchRecord

SQL = {**queries("batches"), "reach_rows_by_index": queries("ledger")["reach_rows_by_index"]}
PIECE = 5000
"""Deliveries settled in one transaction: dispatch and stats wait for no more than that."""

_WAITING = list(WAITING)
_LIVE = [status for status in Status if not status.is_terminal]


class PostgresBatches:
    """Looks at Batches, cancels and moves them.

    Args:
        piece: Deliveries in one transaction.
    """

    def __init__(self, database: Database, piece: int = PIECE) -> None:
        self._database = database
        self._piece = piece

    async def batch(self, domain: str, message_id: str) -> BatchRecord | None:
        """See `ports.Batches`."""
        async with self._database.transaction() as connection:
            asked = await connection.execute(SQL["batch"], {"domain": domain, "message_id": message_id})
            row = await asked.fetchone()
            if row is None:
                return None
            counted = await connection.execute(SQL["counts"], {"batch": row["number"], "waiting": _WAITING})
            counts = await counted.fetchall()
        return BatchRecord(
            **row,
            counts={Status(one["status"]): one["count"] for one in counts},
            untried=sum(one["untried"] for one in counts),
        )

    async def cancel(self, number: int, now: datetime) -> None:
        """See `ports.Batches`."""
        async with self._database.statement() as connection:
            await connection.execute(SQL["cancel"], {"batch": number, "now": now})
        await self._settle(number)

    async def reschedule(self, number: int, at: datetime) -> bool:
        """See `ports.Batches`."""
        wanted = {"batch": number, "at": at, "waiting": _WAITING}
        async with self._database.transaction() as connection:
            await connection.execute(SQL["reschedule"], wanted)
            found = await connection.execute(SQL["is_cancelled"], {"batch": number})
            if await found.fetchone() is not None:
                return False
        await self._settle(number)
        return True

    async def _settle(self, number: int) -> None:
        is_left = True
        while is_left:
            async with self._database.transaction() as connection:
                asked = await connection.execute(SQL["unsettled"], {"batch": number})
                row = await asked.fetchone()
                if row is not None:
                    await _settle_piece(connection, row, self._piece)
            is_left = row is not None


async def settle_some(database: Database, pieces: int, piece: int = PIECE) -> int:
    """Go on with what somebody has left unsettled; see `ports.Recovery`."""
    for done in range(pieces):
        async with database.transaction() as connection:
            row = await (await connection.execute(SQL["any_unsettled"])).fetchone()
            if row is None:
                return done
            await _settle_piece(connection, row, piece)
    return pieces


async def _settle_piece(connection: Connection, row: dict[str, Any], piece: int) -> None:
    part = {
        "batch": row["batch"],
        "first": row["unsettled_from"],
        "end": row["unsettled_from"] + piece,
        "waiting": _WAITING,
    }
    await connection.execute(SQL["reach_rows_by_index"])
    await connection.execute(SQL["hold"], part | {"live": _LIVE})
    if row["cancelled_at"] is not None:
        await connection.execute(SQL["end_waiting"], part)
    else:
        due_at = row["scheduled_at"]
        moved = {"due_at": due_at, "expires_at": due_at + row["retry_budget"]}
        await connection.execute(SQL["move_untried"], part | moved)
    await connection.execute(SQL["settled"], part)
