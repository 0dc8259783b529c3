"""What the gateway accepted, written to PostgreSQL: implements `ports.Intake`."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from weakref import WeakValueDictionary

from psycopg.errors import ForeignKeyViolation

from kannon.adapters.postgres.connection import Connection, Database, as_json, queries
from kannon.adapters.postgres.mail_counts import count_mails
from kannon.core.batch_options import Syntax
from kannon.core.batches import KEYS_KEPT_FOR, Body, KeyedAnswer, NewBatch, NewRecipient
from kannon.core.errors import BodyGone
from kannon.core.failpoints import passing
from kannon.core.limits import UNLIMITED, Limits

SQL = queries("intake")
FEW = 50
"""Up to so many Deliveries go with the Batch's own statement, more by COPY."""
ROWS_AT_ONCE = 1000
"""Rows written to a COPY before other tasks are let run."""
BODY_OF_MESSAGE = "messages_body_fkey"


class PostgresIntake:
    """Writes Batches with their Deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._marking = asyncio.Lock()
        self._to_mark: dict[int, int] = {}

    async def accept(
        self, batch: NewBatch, keyed: KeyedAnswer | None = None, limits: Limits = UNLIMITED
    ) -> int | KeyedAnswer:
        """See `ports.Intake`."""
        try:
            # A small Batch is one statement; what is more than one must be a transaction.
            is_one = keyed is None and len(batch.recipients) <= FEW and not limits.count_mails
            begin = self._database.statement if is_one else self._database.transaction
            async with self._turn(batch.domain, limits), begin() as connection:
                if keyed is not None and (earlier := await _earlier_answer(connection, keyed)) is not None:
                    return earlier
                await count_mails(connection, batch.domain, len(batch.recipients), limits)
                number = await _write(connection, batch)
                passing("gateway.committing")
                return number
        except ForeignKeyViolation as error:
            if error.diag.constraint_name == BODY_OF_MESSAGE:
                raise BodyGone from None
            raise

    @asynccontextmanager
    async def _turn(self, domain: str, limits: Limits) -> AsyncIterator[None]:
        """Calls of a Domain whose mails are counted wait for one another: here, and not each on a connection
        that others need."""
        if not limits.count_mails:
            yield
            return
        async with self._turns.setdefault(domain, asyncio.Lock()):
            yield

    async def answered(self, domain: str, key: str, now: datetime) -> KeyedAnswer | None:
        """See `ports.Intake`."""
        async with self._database.statement() as connection:
            return await _answer_of(connection, domain, key, now)

    async def announced(self, batch: int, next_seq: int) -> None:
        """See `ports.Intake`; calls that come together share a transaction. Raises LedgerUnavailable."""
        self._to_mark[batch] = next_seq
        async with self._marking:
            if batch not in self._to_mark:  # taken along by the call before
                return
            marks, self._to_mark = self._to_mark, {}
            try:
                await self._mark_announced(marks)
            except BaseException:
                self._to_mark = marks | self._to_mark
                raise

    async def _mark_announced(self, marks: Mapping[int, int]) -> None:
        async with self._database.transaction() as connection:
            # A crash that loses this commit only has the Batches announced again: do not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.execute(
                SQL["announced"], {"batches": list(marks), "announced_seqs": list(marks.values())}
            )


async def _earlier_answer(connection: Connection, keyed: KeyedAnswer) -> KeyedAnswer | None:
    """Take the key for this call; gives the answer of the call that took it before, if there is one."""
    values = {
        "domain": keyed.domain,
        "key": keyed.key,
        "content_hash": keyed.content_hash,
        "answer": keyed.answer,
        "at": keyed.at,
        "over": keyed.at - KEYS_KEPT_FOR,
    }
    if await (await connection.execute(SQL["take_key"], values)).fetchone() is not None:
        return None
    earlier = await _answer_of(connection, keyed.domain, keyed.key, keyed.at)
    assert earlier is not None, "the conflict locked its row"
    return earlier


async def _answer_of(connection: Connection, domain: str, key: str, now: datetime) -> KeyedAnswer | None:
    values = {"domain": domain, "key": key, "over": now - KEYS_KEPT_FOR}
    row = await (await connection.execute(SQL["answered"], values)).fetchone()
    return KeyedAnswer(**row) if row else None


async def _write(connection: Connection, batch: NewBatch) -> int:
    few = batch.recipients if len(batch.recipients) <= FEW else ()
    row = await (await connection.execute(SQL["accept"], _parameters(batch, few))).fetchone()
    assert row is not None, "INSERT … RETURNING gives a row"
    number: int = row["number"]
    if len(few) < len(batch.recipients):
        await _copy_deliveries(connection, number, batch)
    return number


def _parameters(batch: NewBatch, few: Collection[NewRecipient]) -> Mapping[str, object]:
    stored, given = (None, batch.body) if isinstance(batch.body, Body) else (batch.body, None)
    return {
        "message_id": batch.message_id,
        "domain": batch.domain,
        "sender_email": batch.sender_email,
        "sender_alias": batch.sender_alias,
        "subject": batch.subject,
        "template_id": batch.template_id,
        "body": stored,
        "html": given.html if given else None,
        "text": given.text if given else None,
        "syntax": given.syntax if given else Syntax.PLAIN,
        "css_inlined": given is not None and given.css_inlined,
        "global_fields": as_json(batch.global_fields),
        "recipients": len(batch.recipients),
        "scheduled_at": batch.scheduled_at,
        "expires_at": batch.expires_at,
        "traceparent": batch.traceparent,
        "attachments": as_json([asdict(one) for one in batch.attachments]),
        "options": as_json(batch.options.as_object()),
        "tracking": batch.tracking.digits,
        "emails": [recipient.address for recipient in few],
        "fields": [as_json(recipient.fields) if recipient.fields else None for recipient in few],
        "trackings": [_tracking(recipient) for recipient in few],
    }


async def _copy_deliveries(connection: Connection, number: int, batch: NewBatch) -> None:
    due_at, expires_at = batch.scheduled_at.isoformat(), batch.expires_at.isoformat()
    async with connection.cursor() as cursor, cursor.copy(SQL["many_deliveries"]) as copy:
        for seq, recipient in enumerate(batch.recipients):
            fields = as_json(recipient.fields) if recipient.fields else None
            tracking = _tracking(recipient)
            await copy.write_row((number, seq, recipient.address, fields, due_at, expires_at, tracking))
            if seq % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                await asyncio.sleep(0)


def _tracking(recipient: NewRecipient) -> int | None:
    return None if recipient.tracking is None else recipient.tracking.digits
