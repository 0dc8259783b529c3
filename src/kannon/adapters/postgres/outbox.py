"""Publishes committed Outcomes and suppressions: implements `ports.Outbox`."""

import asyncio
import logging

import msgspec

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.errors import Unavailable
from kannon.core.payloads import OutcomeFact, Outcomes, SuppressionChanges, SuppressionFact
from kannon.ports import EventPublisher

SQL = queries("outbox")
ROWS_AT_ONCE = 50
LINGER = 0.02
"""Seconds for which the first of several nudges waits for the others."""
_FACTS = msgspec.json.Decoder(tuple[OutcomeFact, ...])
_SUPPRESSIONS = msgspec.json.Decoder(tuple[SuppressionFact, ...])
log = logging.getLogger(__name__)


class PostgresOutbox:
    """Rows are locked while they are published and deleted once the stream has them: a crash in between
    publishes them again under the same event id."""

    def __init__(self, database: Database, publisher: EventPublisher) -> None:
        self._database = database
        self._publisher = publisher
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        """Publish soon; many nudges make one run."""
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> int:
        """Publish all that waits; returns how many rows that were.

        Raises:
            Unavailable: PostgreSQL or NATS is away; what was not published waits.
        """
        total, published = 0, ROWS_AT_ONCE
        while published == ROWS_AT_ONCE:
            published = await self._publish_some()
            total += published
        return total

    async def close(self) -> None:
        """Finish the run under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._wanted.is_set():
            await asyncio.sleep(LINGER)
            self._wanted.clear()
            try:
                await self.drain()
            except Unavailable as error:
                log.info("the outbox waits for the tick", extra={"reason": str(error)})

    async def _publish_some(self) -> int:
        async with self._database.transaction() as connection:
            # A crash that loses this commit only repeats the same events: do not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit = off")
            rows = await (await connection.execute(SQL["waiting"], {"limit": ROWS_AT_ONCE})).fetchall()
            events = [_event(row["outcome"], row["id"], row["facts"]) for row in rows]
            await asyncio.gather(*(self._publisher.publish(event) for event in events))
            if rows:
                await connection.execute(SQL["published"], {"ids": [row["id"] for row in rows]})
        return len(rows)


def _event(kind: str, number: int, facts: str) -> Outcomes | SuppressionChanges:
    name, _, change = kind.partition(".")
    if name == SuppressionChanges.NAME:
        return SuppressionChanges(change, number, _SUPPRESSIONS.decode(facts))
    return Outcomes(kind, number, _FACTS.decode(facts))
