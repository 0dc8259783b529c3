"""Reports that were kept, read from PostgreSQL: implements `ports.Reports`."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.reports.values import Kind
from kannon.ports import ReportRecord

SQL = queries("reports")
_NEWEST = 2**63 - 1


class PostgresReports:
    """What came back, and how often."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, kind: Kind | None, domain: str, before: int | None, take: int
    ) -> Sequence[ReportRecord]:
        """See `ports.Reports`."""
        wanted = {"kind": kind or "", "domain": domain, "before": before or _NEWEST, "take": take}
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(SQL["page"], wanted)).fetchall()
        return [_record(row) for row in rows]

    async def report(self, number: int) -> tuple[ReportRecord, bytes] | None:
        """See `ports.Reports`."""
        if number > _NEWEST:
            return None
        async with self._database.transaction() as connection:
            row = await (await connection.execute(SQL["report"], {"number": number})).fetchone()
        if row is None:
            return None
        head: bytes = row.pop("head")
        return _record(row), head

    async def counts(self, domain: str, since: datetime) -> Mapping[Kind, int]:
        """See `ports.Reports`."""
        wanted = {"domain": domain, "since": since}
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(SQL["counts"], wanted)).fetchall()
        return {Kind(row["kind"]): row["count"] for row in rows}


def _record(row: DictRow) -> ReportRecord:
    return msgspec.convert(row, ReportRecord)
