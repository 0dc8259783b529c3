"""Decisions about calls, kept in PostgreSQL: implements `ports.AuditTrail`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Database, as_json, queries
from kannon.core.audit import AuditRecord, Decision
from kannon.ports import AuditFilter, AuditPage

SQL = queries("audit")
LOOKED_AT: Final = 20_000
"""Records of one page, those included that its filter leaves out."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


class PostgresAuditTrail:
    """Records, newest first.

    Args:
        looked_at: records that one page looks at, at the most.
    """

    def __init__(self, database: Database, looked_at: int = LOOKED_AT) -> None:
        self._database = database
        self._looked_at = looked_at

    async def write(self, records: Sequence[AuditRecord]) -> None:
        """See `ports.AuditTrail`."""
        async with self._database.transaction() as connection:
            # Records are gathered before they come here: a crash loses some anyhow, so the disk may lag.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.execute(SQL["write"], {"records": as_json(records)})

    async def page(self, wanted: AuditFilter, before: tuple[datetime, int] | None, take: int) -> AuditPage:
        """See `ports.AuditTrail`."""
        before_at, before_number = before or (_END, 0)
        place = {
            "before_at": before_at,
            "before_number": before_number,
            "since": wanted.since or _BEGINNING,
            "until": wanted.until or _END,
            "domain": wanted.domain,
            "looked_at": self._looked_at,
        }
        # One more than asked for tells whether there is another page.
        rules = {
            "procedure": wanted.procedure,
            "decision": wanted.decision or "",
            "key_id": wanted.key_id,
            "client": wanted.client,
            "limit": take + 1,
        }
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(SQL["page"], place | rules, prepare=False)).fetchall()
            if len(rows) > take:
                last: DictRow | None = rows[take - 1]
            else:
                last = await (
                    await connection.execute(SQL["last_looked_at"], place, prepare=False)
                ).fetchone()
        next_ = (last["at"], last["number"]) if last else None
        return AuditPage([_record(row) for row in rows[:take]], next_)

    async def forget(self, limit: int, before: datetime) -> int:
        """See `ports.AuditTrail`."""
        async with self._database.statement() as connection:
            return (await connection.execute(SQL["forget"], {"limit": limit, "before": before})).rowcount


def _record(row: DictRow) -> tuple[int, AuditRecord]:
    number: int = row.pop("number")
    return number, AuditRecord(**row | {"decision": Decision(row["decision"])})
