"""What waits in the ledger: implements `ports.LedgerLook`."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.adapters.postgres.ledger import PUBLISHING, STREAM_OF_ENVELOPES, STREAMS_AFTER_DISPATCH
from kannon.core.diagnosis import COUNTED, LedgerDiagnosis, LostStream, Pile
from kannon.core.retries import LEAST_TIME_TO_TRY, LONGEST_REPLY, MAX_EMISSIONS

SQL = queries("diagnosis")
PILES: Final = ("unverified", "due", "later", "deferred", "in_hand", "stranded", "fruitless", "outbox")


class PostgresLedgerLook:
    """Counts what is live.

    Args:
        in_hand: how many Deliveries may be in `sending`.
        lease: after this long without a result, work counts as lost.
        limit: counted of anything, at the most.
    """

    def __init__(self, database: Database, in_hand: int, lease: timedelta, limit: int = COUNTED) -> None:
        self._database = database
        self._in_hand = in_hand
        self._lease = lease
        self._limit = limit

    async def look(self, now: datetime) -> LedgerDiagnosis:
        """See `ports.LedgerLook`."""
        wanted = self._parameters(now)
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            await connection.execute(SQL["reach_rows_by_index"])
            (unannounced,) = await _rows(connection, "unannounced", wanted)
            recipients = unannounced.pop("recipients")
            piles = [self._pile((await _rows(connection, name, wanted))[0]) for name in PILES]
            streams = await _rows(connection, "streams", {})
        found = LedgerDiagnosis(
            unannounced=self._pile(unannounced),
            unannounced_recipients=recipients,
            in_hand_limit=self._in_hand,
            ticked_at=max((row["seen_at"] for row in streams), default=None),
            lost=tuple(LostStream(row["name"], row["lost_at"]) for row in streams if row["lost_at"]),
        )
        changes: dict[str, Any] = dict(zip(PILES, piles, strict=True))
        return replace(found, **changes)

    def _parameters(self, now: datetime) -> dict[str, object]:
        return {
            "now": now,
            "lease": self._lease,
            "publishing": PUBLISHING,
            "limit": self._limit,
            "after_dispatch": STREAMS_AFTER_DISPATCH,
            "envelopes": STREAM_OF_ENVELOPES,
            "emissions": MAX_EMISSIONS,
            "least_time": LEAST_TIME_TO_TRY,
            "longest_reply": LONGEST_REPLY,
        }

    def _pile(self, row: dict[str, Any]) -> Pile:
        return Pile(is_more=row["count"] >= self._limit, **row)


async def _rows(connection: Connection, name: str, wanted: dict[str, object]) -> list[dict[str, Any]]:
    return await (await connection.execute(SQL[name], wanted)).fetchall()
