"""Suppressions in PostgreSQL: implements `ports.Suppressions`; and what stats writes of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncCursor
from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Connection, Database, as_json, queries
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.erasure import hashed
from kannon.core.suppression import Happening, Reason, Source, Suppression, merged_by_address
from kannon.ports import SuppressionFilter, SuppressionPage

SQL = queries("suppressions")
LOOKED_AT = 100_000
"""Rows looked at for one page."""
_LAST_CHARACTER = "\U0010ffff"
_WEAKEST_FIRST = sorted(Reason, key=lambda reason: reason.strength)


class PostgresSuppressions:
    """Looks suppressions up, adds and removes them.

    Statements that look for addresses are planned each time they run: a plan that was made while the table
    was small, and kept, would read all of it after it has grown.

    Args:
        looked_at: rows, for one page.
    """

    def __init__(self, database: Database, looked_at: int = LOOKED_AT) -> None:
        self._database = database
        self._looked_at = looked_at

    async def any(self, domain: str) -> bool:
        """See `ports.Suppressions`."""
        row = await self._one("any", {"domain": domain})
        return bool(row and row["found"])

    async def reasons(self, domain: str, addresses: Collection[str], now: datetime) -> Mapping[str, Reason]:
        """See `ports.Suppressions`."""
        # Those of erased Recipients are kept under hashes.
        names = {form: address for address in addresses for form in (address, hashed(domain, address))}
        wanted = {"domain": domain, "addresses": as_json(list(names)), "now": now}
        async with self._database.statement() as connection:
            found = await connection.execute(SQL["reasons"], wanted, prepare=False)
            rows = await found.fetchall()
        return {
            names[row["address"]]: Reason(row["reason"])
            for row in sorted(rows, key=lambda row: Reason(row["reason"]).strength)
        }

    async def suppression(self, domain: str, address: str, now: datetime) -> Suppression | None:
        """See `ports.Suppressions`."""
        wanted = {"domain": domain, "now": now}
        row = await self._one("suppression", wanted | {"address": address})
        row = row or await self._one("suppression", wanted | {"address": hashed(domain, address)})
        return suppression_of(row) if row else None

    async def page(self, wanted: SuppressionFilter, after: str, take: int, now: datetime) -> SuppressionPage:
        """See `ports.Suppressions`."""
        place = {
            "domain": wanted.domain,
            "after": after,
            "first": wanted.prefix,
            "end": wanted.prefix + _LAST_CHARACTER,
            "looked_at": self._looked_at,
        }
        # One more than asked for tells whether there is another page.
        rules = {"now": now, "since": wanted.since, "reason": wanted.reason, "limit": take + 1}
        async with self._database.transaction() as connection:
            await connection.execute(SQL["go_by_key"])
            rows = await (await connection.execute(SQL["page"], place | rules, prepare=False)).fetchall()
            if len(rows) > take:
                shown = rows[:take]
                return SuppressionPage([suppression_of(row) for row in shown], shown[-1]["address"])
            last = await (await connection.execute(SQL["last_looked_at"], place, prepare=False)).fetchone()
        return SuppressionPage([suppression_of(row) for row in rows], last["address"] if last else "")

    async def add(self, suppressions: Sequence[Suppression], now: datetime) -> int:
        """See `ports.Suppressions`."""
        async with self._database.statement() as connection:
            row = await (await write_suppressions(connection, suppressions, now)).fetchone()
        return row["written"] if row else 0

    async def remove(self, domain: str, address: str, now: datetime) -> Suppression | None:
        """See `ports.Suppressions`."""
        wanted = {"domain": domain, "now": now}
        found = await self._one("remove", wanted | {"address": address})
        of_erased = await self._one("remove", wanted | {"address": hashed(domain, address)})
        row = found or of_erased
        return suppression_of(row) if row else None

    async def _one(self, query: str, values: Mapping[str, Any]) -> DictRow | None:
        async with self._database.statement() as connection:
            return await (await connection.execute(SQL[query], values, prepare=False)).fetchone()


async def write_suppressions(
    connection: Connection, suppressions: Sequence[Suppression], now: datetime
) -> AsyncCursor[DictRow]:
    """Write suppressions and put what changes into the outbox; the row that is found counts that."""
    rows = [
        (
            *(one.domain, one.address, one.reason, one.source, one.created_at, one.expires_at),
            *(one.message_id, one.detail),
        )
        for one in merged_by_address(suppressions, now)
    ]
    values = {"suppressions": as_json(rows), "now": now, "weakest_first": _WEAKEST_FIRST}
    return await connection.execute(SQL["suppress"], values | {"per_event": MAX_CHUNK_ITEMS})


async def note_soft_bounces(
    connection: Connection, bounces: Sequence[Happening], window: timedelta
) -> Sequence[int]:
    """Remember soft bounces; see `ports.LedgerWork`."""
    rows = [
        (one.domain, one.address, one.delivery.batch, one.delivery.seq, one.at)
        for one in bounces
        if one.delivery is not None
    ]
    assert len(rows) == len(bounces), "a soft bounce is of a Delivery"
    values = {"bounces": as_json(rows), "window": window}
    await connection.execute(SQL["note_soft_bounces"], values)
    found = await connection.execute(SQL["count_soft_bounces"], values, prepare=False)
    return [row["count"] for row in await found.fetchall()]


def suppression_of(row: DictRow) -> Suppression:
    """A row as a suppression."""
    return Suppression(**row | {"reason": Reason(row["reason"]), "source": Source(row["source"])})
