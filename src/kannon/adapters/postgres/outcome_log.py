"""Outcomes in the order of commit, from PostgreSQL: implements `ports.OutcomeLog`."""

from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import CursorAhead
from kannon.core.statistics import Event, LogPage, LogPlace, Place
from kannon.core.tracking.policy import Mode

SQL = queries("outcome_log")
_INDEX = queries("statistics_queries")["reach_rows_by_index"]
_BEFORE_ALL: Final = LogPlace(0, Place(datetime.min.replace(tzinfo=UTC), 0, -1, "", -1, ""))
_LAST: Final = Place(datetime.max.replace(tzinfo=UTC), 0, -1, "", -1, "")


class PostgresOutcomeLog:
    """Reads no further than to the oldest transaction that is under way: nothing can be committed before that
    any more, for each row has the number of its transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, domain: str, after: LogPlace | None, take: int) -> LogPage:
        """See `ports.OutcomeLog`."""
        start = after or _BEFORE_ALL
        async with self._database.transaction() as connection:
            horizon = await _horizon(connection)
            if start.position >= horizon:
                raise CursorAhead("cursor: it is ahead of this database; begin anew, without one")
            await connection.execute(_INDEX)
            asked = _asked(start) | {"domain": domain, "horizon": horizon, "take": take}
            rows = await (await connection.execute(SQL["page"], asked)).fetchall()
        positions = [row.pop("position") for row in rows]
        events = [_event(row) for row in rows]
        return LogPage(events, LogPlace(positions[-1], events[-1].place) if events else after)

    async def end(self) -> LogPlace:
        """See `ports.OutcomeLog`."""
        async with self._database.statement() as connection:
            return LogPlace(await _horizon(connection) - 1, _LAST)


async def _horizon(connection: Any) -> int:
    row = await (await connection.execute(SQL["horizon"])).fetchone()
    return int(row["horizon"])


def _asked(place: LogPlace) -> dict[str, Any]:
    return {
        "position": place.position,
        "at": place.place.at,
        "batch": place.place.batch,
        "seq": place.place.seq,
        "type": place.place.type,
        "attempt": place.place.attempt,
        "id": place.place.id,
    }


def _event(row: DictRow) -> Event:
    seq, mode = row.pop("seq"), row.pop("mode")
    delivery = DeliveryId(row["batch"], seq) if seq >= 0 else None
    return Event(**row, delivery=delivery, mode=Mode(mode) if mode else None)
