"""What the gateway accepted, written to PostgreSQL: implements `ports.Intake`."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.core.batches import NewBatch, NewRecipient

SQL = queries("intake")
FEW = 50
"""Up to so many Deliveries go with the Batch's own statement, more by COPY."""
ROWS_AT_ONCE = 1000
"""Rows written to a COPY before other tasks are let run."""


class PostgresIntake:
    """Writes Batches with their Deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._marking = asyncio.Lock()
        self._to_mark: set[int] = set()

    async def accept(self, batch: NewBatch) -> int:
        """See `ports.Intake`."""
        few = batch.recipients if len(batch.recipients) <= FEW else ()
        async with self._database.transaction() as connection:
            row = await (await connection.execute(SQL["accept"], _parameters(batch, few))).fetchone()
            assert row is not None, "INSERT … RETURNING gives a row"
            number: int = row["number"]
            if len(few) < len(batch.recipients):
                await _copy_deliveries(connection, number, batch)
        return number

    async def announced(self, batch: int) -> None:
        """See `ports.Intake`; calls that come together share a transaction. Raises LedgerUnavailable."""
        self._to_mark.add(batch)
        async with self._marking:
            if batch not in self._to_mark:  # taken along by the call before
                return
            batches, self._to_mark = self._to_mark, set()
            try:
                await self._mark_announced(batches)
            except BaseException:
                self._to_mark |= batches
                raise

    async def _mark_announced(self, batches: set[int]) -> None:
        async with self._database.transaction() as connection:
            # A crash that loses this commit only has the Batches announced again: do not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.execute(SQL["announced"], {"batches": list(batches)})


def _parameters(batch: NewBatch, few: Sequence[NewRecipient]) -> Mapping[str, object]:
    return {
        "message_id": batch.message_id,
        "domain": batch.domain,
        "sender_email": batch.sender_email,
        "sender_alias": batch.sender_alias,
        "subject": batch.subject,
        "template_id": batch.template_id,
        "template_html": batch.template_html,
        "global_fields": _json(batch.global_fields),
        "recipients": len(batch.recipients),
        "scheduled_at": batch.scheduled_at,
        "expires_at": batch.expires_at,
        "traceparent": batch.traceparent,
        "emails": [recipient.address for recipient in few],
        "fields": [_json(recipient.fields) if recipient.fields else None for recipient in few],
    }


async def _copy_deliveries(connection: Connection, number: int, batch: NewBatch) -> None:
    due_at, expires_at = batch.scheduled_at.isoformat(), batch.expires_at.isoformat()
    async with connection.cursor() as cursor, cursor.copy(SQL["many_deliveries"]) as copy:
        for seq, recipient in enumerate(batch.recipients):
            fields = _json(recipient.fields) if recipient.fields else None
            await copy.write_row((number, seq, recipient.address, fields, due_at, expires_at))
            if seq % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                await asyncio.sleep(0)


def _json(fields: Mapping[str, str]) -> str:
    return msgspec.json.encode(fields).decode()
