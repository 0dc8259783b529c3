"""The time as PostgreSQL has it: implements `ports.Clock`."""

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, LiteralString

if TYPE_CHECKING:
    from kannon.adapters.postgres.connection import Connection

LOOK_EVERY: Final = 30.0
"""Seconds for which time is counted on from what PostgreSQL said last."""


class LedgerClock:
    """One clock for all who work on the ledger: what is due by one of them is due by the others.

    Clocks of several machines differ, and each may be set: a Delivery due in a second would wait for an hour.
    In between two looks time is counted by the monotonic clock, which nobody sets.
    """

    def __init__(self) -> None:
        self._known: datetime | None = None
        self._at = 0.0

    def __call__(self) -> datetime:
        """Now; by this machine's own clock until PostgreSQL was asked for the first time."""
        if self._known is None:
            return datetime.now(UTC)
        return self._known + timedelta(seconds=time.monotonic() - self._at)

    @property
    def is_stale(self) -> bool:
        """Whether it is time to look again."""
        return self._known is None or time.monotonic() - self._at > LOOK_EVERY

    async def look(self, connection: "Connection", statement: LiteralString) -> None:
        """Ask PostgreSQL; of the time that it takes to answer half is counted."""
        asked = time.monotonic()
        row = await (await connection.execute(statement)).fetchone()
        assert row is not None
        self._known, self._at = row["now"].astimezone(UTC), (asked + time.monotonic()) / 2
