"""Counts, rates and single Events, read from PostgreSQL: implements `ports.StatisticsQueries`."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.core.deliveries import DeliveryId
from kannon.core.grains import Grain, pieces
from kannon.core.statistics import (
    BatchFilter,
    BatchFound,
    BatchPage,
    Counts,
    Dimension,
    Event,
    EventFilter,
    EventPage,
    Interval,
    Latencies,
    Place,
    Point,
    Question,
    Tally,
)
from kannon.core.tracking.policy import Mode
from kannon.ports import TIMELINE_SHOWN

SQL = queries("statistics_queries")
BATCHES_AT_ONCE: Final = 20_000
"""Looked at for one page of Batches."""
DELIVERIES_AT_ONCE: Final = 5000
"""Of a Batch, looked at for one page of Events."""
EXPORTED_AT_ONCE: Final = 1000

_LAST_NUMBER = 2**63 - 1
_HOUR = timedelta(hours=1)


class PostgresStatisticsQueries:
    """Answers from rollups where it can, and from the rows of Outcomes.

    Args:
        batches_at_once: looked at for one page of Batches.
        deliveries_at_once: of a Batch, looked at for one page of Events.
    """

    def __init__(
        self,
        database: Database,
        batches_at_once: int = BATCHES_AT_ONCE,
        deliveries_at_once: int = DELIVERIES_AT_ONCE,
    ) -> None:
        self._database = database
        self._batches_at_once = batches_at_once
        self._deliveries_at_once = deliveries_at_once

    async def breakdown(self, wanted: Question, take: int) -> Sequence[Tally]:
        """See `ports.StatisticsQueries`."""
        async with self._look() as connection:
            asked = _asked(wanted, await summed_up(connection)) | {"take": take}
            if wanted.dimension is not Dimension.BATCH:
                rows = await _read(connection, "breakdown", asked)
                return [Tally(row.pop("value"), Counts(**row)) for row in rows]
            names = await _numbers(connection, wanted)
            rows = await _read(connection, "breakdown_of_batches", asked | {"batches": list(names)})
            return [Tally(names[row.pop("batch")], Counts(**row)) for row in rows]

    async def series(self, wanted: Question, interval: Interval, zone: ZoneInfo) -> Sequence[Point]:
        """See `ports.StatisticsQueries`."""
        async with self._look() as connection:
            until = await summed_up(connection)
            asked = await _clamped(connection, wanted, _asked(wanted, until))
            if asked is None:
                return []
            asked |= {"interval": interval.value, "zone": zone.key}
            if wanted.dimension is Dimension.BATCH:
                names = await _numbers(connection, wanted)
                rows = await _read(connection, "series_of_batches", asked | {"batches": list(names)})
                return [_point(row, names[row.pop("batch")], zone) for row in rows]
            values = [""] if wanted.dimension is Dimension.ALL else list(wanted.values)
            asked |= {"values": values} | _days(asked, until)
            return [_point(row, row.pop("value"), zone) for row in await _read(connection, "series", asked)]

    async def latencies(self, wanted: Question, take: int) -> Mapping[str, Latencies]:
        """See `ports.StatisticsQueries`."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        async with self._look() as connection:
            asked = _asked(wanted, await summed_up(connection)) | {"take": take}
            if wanted.dimension is Dimension.BATCH:
                names = await _numbers(connection, wanted)
                rows = await _read(connection, "latencies_of_batches", asked | {"batches": list(names)})
                values = [names[row["batch"]] for row in rows]
            else:
                rows = await _read(connection, "latencies", asked)
                values = [row["value"] for row in rows]
        for value, row in zip(values, rows, strict=True):
            found[value][row["bucket"]] = row["count"]
        return {value: Latencies(buckets) for value, buckets in found.items()}

    async def timeline(self, domain: str, delivery: DeliveryId) -> Sequence[Event]:
        """See `ports.StatisticsQueries`."""
        place = {"batch": delivery.batch, "seq": delivery.seq, "domain": domain, "take": TIMELINE_SHOWN}
        return [_event(row) for row in reversed(await self._rows("timeline", place))]

    async def events(self, wanted: EventFilter, start: Place | None, take: int) -> EventPage:
        """See `ports.StatisticsQueries`."""
        if wanted.message_id and not wanted.email:
            return await self._events_of_batch(wanted, start, take)
        name = "events_of_recipient" if wanted.email else "events_of_type" if wanted.type else "events"
        asked = _filter(wanted) | _place(start or _behind_all(wanted.end)) | {"take": take + 1}
        events = [_event(row) for row in await self._rows(name, asked)]
        return EventPage(events[:take], events[take - 1].place if len(events) > take else None)

    async def _events_of_batch(self, wanted: EventFilter, start: Place | None, take: int) -> EventPage:
        named = await self._rows("batch", _filter(wanted))
        if not named:
            return EventPage((), None)
        (batch,) = named
        after = start or Place(datetime.min.replace(tzinfo=UTC), batch["number"], -1, "", -1, "")
        before = after.seq + self._deliveries_at_once
        look = {"of_batch": batch["number"], "before": before, "take": take + 1}
        found = await self._rows("events_of_batch", _filter(wanted) | _place(after) | look)
        events = [_event(row) for row in found]
        if len(events) > take:
            return EventPage(events[:take], events[take - 1].place)
        is_more = before < batch["recipients"]
        return EventPage(events, Place(after.at, batch["number"], before, "", -1, "") if is_more else None)

    async def export(self, wanted: EventFilter) -> AsyncIterator[Sequence[Event]]:
        """See `ports.StatisticsQueries`."""
        start: Place | None = None
        while True:
            page = await self.events(wanted, start, EXPORTED_AT_ONCE)
            if page.events:
                yield page.events
            if page.next is None:
                return
            start = page.next

    async def batches(self, wanted: BatchFilter, after: int | None, take: int) -> BatchPage:
        """See `ports.StatisticsQueries`."""
        asked = {
            "domain": wanted.domain,
            "start": wanted.start,
            "end": wanted.end,
            "subject": wanted.subject,
            "after": after,
            "take": take + 1,
            "looked_at": self._batches_at_once,
        }
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            rows = await (await connection.execute(SQL["batches"], asked)).fetchall()
            last = await (await connection.execute(SQL["last_looked_at"], asked)).fetchone()
        found = [BatchFound(**row) for row in rows]
        if len(found) > take:
            return BatchPage(found[:take], found[take - 1].number)
        return BatchPage(found, last["number"] if last else None)

    @asynccontextmanager
    async def _look(self) -> AsyncIterator[Connection]:
        """A moment at which all that is read was so."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            await connection.execute(SQL["reach_rows_by_index"])
            yield connection

    async def _rows(self, name: str, asked: Mapping[str, Any]) -> list[DictRow]:
        async with self._look() as connection:
            return await _read(connection, name, asked)


async def summed_up(connection: Connection) -> Mapping[Grain, datetime]:
    """Up to when there are rows for days and months."""
    return {Grain(row["grain"]): row["until"] for row in await _read(connection, "grains", {})}


async def _read(connection: Connection, name: str, asked: Mapping[str, Any]) -> list[DictRow]:
    return await (await connection.execute(SQL[name], asked)).fetchall()


async def _numbers(connection: Connection, wanted: Question) -> Mapping[int, str]:
    named = {"values": list(wanted.values), "domain": wanted.domain}
    return {row["number"]: row["message_id"] for row in await _read(connection, "numbers", named)}


async def _clamped(connection: Connection, wanted: Question, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The range cut to where there is anything at all; None if there is nothing."""
    (span,) = await _read(connection, "span", {"domain": wanted.domain})
    if span["first"] is None or asked["first"] is None:
        return None
    first, last = max(asked["first"], span["first"]), min(asked["last"], span["last"] + _HOUR)
    return asked | {"first": first, "last": last} if first < last else None


def _asked(wanted: Question, until: Mapping[Grain, datetime]) -> dict[str, Any]:
    parts = pieces(wanted.start, wanted.end, until)
    return {
        "domain": wanted.domain,
        "dimension": wanted.dimension.value,
        "values": list(wanted.values) or None,
        "grains": [part.grain.value for part in parts],
        "starts": [part.start for part in parts],
        "ends": [part.end for part in parts],
        "first": parts[0].start if parts else None,
        "last": parts[-1].end if parts else None,
    }


def _days(asked: Mapping[str, Any], until: Mapping[Grain, datetime]) -> dict[str, datetime]:
    """The whole days, UTC, of a range that are summed up; none is an empty range at its beginning."""
    parts = pieces(asked["first"], asked["last"], {Grain.DAY: until[Grain.DAY]})
    days = next((part for part in parts if part.grain is Grain.DAY), None)
    first = asked["first"]
    return {"days_from": days.start if days else first, "days_to": days.end if days else first}


def _point(row: DictRow, value: str, zone: ZoneInfo) -> Point:
    start = row.pop("start").astimezone(zone)
    return Point(start, value, Counts(**row))


def _filter(wanted: EventFilter) -> dict[str, Any]:
    return {
        "domain": wanted.domain,
        "start": wanted.start,
        "end": wanted.end,
        "email": wanted.email,
        "message_id": wanted.message_id,
        "type": wanted.type,
    }


def _behind_all(end: datetime) -> Place:
    """The place behind all of them, newest first."""
    return Place(end, _LAST_NUMBER, 0, "", 0, "")


def _place(place: Place) -> dict[str, Any]:
    return {
        "at": place.at,
        "batch": place.batch,
        "seq": place.seq,
        "after_type": place.type,
        "attempt": place.attempt,
        "id": place.id,
    }


def _event(row: DictRow) -> Event:
    seq, mode = row.pop("seq"), row.pop("mode")
    delivery = DeliveryId(row["batch"], seq) if seq >= 0 else None
    return Event(**row, delivery=delivery, mode=Mode(mode) if mode else None)
