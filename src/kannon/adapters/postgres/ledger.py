"""The ledger in PostgreSQL: implements `ports.Ledger` and `ports.Recovery`."""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import groupby

from psycopg import AsyncCursor
from psycopg.rows import DictRow, TupleRow, tuple_row

from kannon.adapters.postgres.batches import settle_some
from kannon.adapters.postgres.connection import Connection, Database, as_json, queries
from kannon.adapters.postgres.engagements import record_engagements
from kannon.adapters.postgres.suppressions import note_soft_bounces, write_suppressions
from kannon.core.batch_options import BatchOptions, Syntax
from kannon.core.batches import (
    KEYS_KEPT_FOR,
    TOLD_ONCE,
    AttachmentRef,
    BatchContent,
    Delivery,
    Move,
    Outcome,
)
from kannon.core.deliveries import WAITING, DeliveryId, Standing, Status
from kannon.core.envelopes import MAX_CHUNK_ITEMS
from kannon.core.errors import KannonError
from kannon.core.keys import open_sealed
from kannon.core.payloads import Candidate, Engagement, ReportJudged
from kannon.core.providers import provider_of
from kannon.core.reports.values import Kind
from kannon.core.suppression import Happening, Suppression
from kannon.core.tracking.policy import Policy
from kannon.ports import REPORTS_KEPT, REPORTS_KEPT_FOR, Announcement, LedgerWork, StreamState

SQL = queries("ledger")
BATCHES_REMEMBERED = 64
BATCHES_VISITED = 64
"""Batches among which one claim is shared."""
_LAST_BATCH = 2**63 - 1
ROOM_REMEMBERED = 0.25
"""Seconds for which a count of what is in hand is believed; what this process adds is counted at once."""

PUBLISHING = timedelta(seconds=15)
"""The longest that Envelopes take from when dispatch looked at the clock until the stream has them."""

_TOLD_ONCE = sorted(TOLD_ONCE)
_STATUSES = {status.value: status for status in Status}

STREAMS_BEFORE_DISPATCH = ["KANNON_VERIFY", "KANNON_DISPATCH"]
STREAMS_AFTER_DISPATCH = ["KANNON_SEND", "KANNON_BOUNCE", "KANNON_STATS"]
STREAM_OF_ENVELOPES = "KANNON_SEND"


class PostgresLedger:
    """Deliveries, their Batches and Outcomes.

    Args:
        dkim_key: the subkey under which DKIM private keys are sealed; only dispatch has it.
        in_hand: how many Deliveries may be in `sending`.
        lease: after this long without a result, work counts as lost.
    """

    def __init__(
        self,
        database: Database,
        dkim_key: bytes = b"",
        in_hand: int = 20_000,
        lease: timedelta = timedelta(minutes=15),
    ) -> None:
        self._database = database
        self._dkim_key = dkim_key
        self._lease = lease
        self._in_hand = _InHand(in_hand)
        self._batches: OrderedDict[int, BatchContent] = OrderedDict()
        self.turn = 0
        """The last Batch that a claim reached; the next one begins behind it."""

    @asynccontextmanager
    async def work(self) -> AsyncIterator[LedgerWork]:
        """A transaction; see `ports.Ledger`."""
        async with self._database.pipeline() as connection:
            await connection.execute(SQL["reach_rows_by_index"])
            yield _Work(self, connection)

    async def content(self, connection: Connection, number: int) -> BatchContent:
        """A Batch's content; it never changes, so it is remembered."""
        if (known := self._batches.get(number)) is not None:
            self._batches.move_to_end(number)
            return known
        return await self.read_content(await connection.execute(SQL["batch"], {"number": number}), number)

    async def read_content(self, asked: AsyncCursor[DictRow], number: int) -> BatchContent:
        """The content of a Batch that was asked for; remembers it."""
        row = await asked.fetchone()
        if row is None:
            raise KannonError(f"there is no Batch {number}")
        sealed, tracking = row.pop("dkim_private_key"), Policy.of_digits(row.pop("tracking"))
        attachments = tuple(AttachmentRef(**one) for one in row.pop("attachments"))
        opened = open_sealed(self._dkim_key, sealed, row["domain"])
        row["options"], row["syntax"] = BatchOptions.of(row["options"]), Syntax(row["syntax"])
        content = BatchContent(**row, dkim_private_key=opened, tracking=tracking, attachments=attachments)
        self._batches[number] = content
        if len(self._batches) > BATCHES_REMEMBERED:
            self._batches.popitem(last=False)
        return content

    def knows(self, number: int) -> bool:
        """Whether a Batch's content is remembered."""
        return number in self._batches

    async def notice(self, states: Sequence[StreamState], seen_at: datetime) -> None:
        """See `ports.Recovery`."""
        async with self._database.transaction() as connection:
            await connection.execute(
                SQL["notice"],
                {
                    "names": [state.name for state in states],
                    "created": [state.created for state in states],
                    "last_seqs": [state.last_seq for state in states],
                    "seen_at": seen_at,
                    "now": self._database.clock(),
                },
            )

    async def unannounced(self, limit: int, now: datetime) -> Sequence[Announcement]:
        """See `ports.Recovery`."""
        async with self._database.transaction() as connection:
            await connection.execute(
                SQL["repeat_lost_announcements"],
                {"now": now, "lease": self._lease, "before_dispatch": STREAMS_BEFORE_DISPATCH},
            )
            await connection.execute(SQL["nothing_left_to_announce"], {"now": now})
            rows = await connection.execute(
                SQL["unannounced"], {"now": now, "limit": limit * MAX_CHUNK_ITEMS}
            )
            return list(_announcements(await rows.fetchall()))

    async def announced(self, announcement: Announcement, now: datetime) -> None:
        """See `ports.Recovery`."""
        async with self._database.transaction() as connection:
            await connection.execute(
                SQL["announced"],
                {
                    "batch": announcement.batch,
                    "announcement": announcement.announcement,
                    "next_seq": announcement.recipients[-1].seq + 1,
                    "now": now,
                },
            )

    async def settle(self, pieces: int) -> int:
        """See `ports.Recovery`."""
        return await settle_some(self._database, pieces)

    async def forget_keys(self, limit: int, now: datetime) -> int:
        """See `ports.Recovery`."""
        async with self._database.transaction() as connection:
            done = await connection.execute(SQL["forget_keys"], {"over": now - KEYS_KEPT_FOR, "limit": limit})
            return done.rowcount

    async def forget_reports(self, limit: int, now: datetime) -> int:
        """See `ports.Recovery`."""
        async with self._database.transaction() as connection:
            done = await connection.execute(
                SQL["forget_reports"],
                {"over": now - REPORTS_KEPT_FOR, "kept": REPORTS_KEPT, "limit": limit, "kinds": list(Kind)},
            )
            return done.rowcount


class _InHand:
    """How many more Deliveries may be in `sending`: counted now and then, and kept up in between.

    Only good news is believed: where little room is remembered it is counted again, for who finds none does
    not come back by itself.
    """

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._known = 0
        self._at = 0.0

    async def room(self, connection: Connection) -> int:
        is_old = time.monotonic() - self._at > ROOM_REMEMBERED
        if is_old or self._known + MAX_CHUNK_ITEMS > self.cap:
            row = await (await connection.execute(SQL["in_hand"], {"limit": self.cap})).fetchone()
            assert row is not None
            self._known, self._at = row["in_hand"], time.monotonic()
        return max(0, self.cap - self._known)

    def taken(self, count: int) -> None:
        self._known += count


class _Work:
    """One transaction; implements `ports.LedgerWork`."""

    def __init__(self, ledger: PostgresLedger, connection: Connection) -> None:
        self._ledger = ledger
        self._connection = connection

    async def lock_accepted(self, batch: int, seqs: Sequence[int]) -> Sequence[Delivery]:
        wanted = {"batch": batch, "seqs": list(seqs)}
        if self._ledger.knows(batch):
            return await self._deliveries("lock_accepted", wanted)
        # Its content is asked for in the same round trip: a mail of its own waits for each of them.
        asked = await self._connection.execute(SQL["batch"], {"number": batch})
        locked = await self._deliveries("lock_accepted", wanted)
        if locked:
            await self._ledger.read_content(asked, batch)
        return locked

    async def claim(self, limit: int, now: datetime) -> Sequence[Delivery]:
        after = self._ledger.turn
        claimed = await self._claim_fairly(limit, now, after, until=_LAST_BATCH)
        if len(claimed) < limit and after:
            claimed += await self._claim_fairly(limit - len(claimed), now, after=0, until=after)
        # Where all had less than their share, or there are more Batches than one visits, some room is left.
        self._ledger.turn = claimed[-1].id.batch if len(claimed) == limit else 0
        if len(claimed) < limit:
            taken = {"batches": [d.id.batch for d in claimed], "seqs": [d.id.seq for d in claimed]}
            left = {"limit": limit - len(claimed), "now": now}
            claimed += await self._deliveries("claim", left | taken)
        return claimed

    async def _claim_fairly(self, limit: int, now: datetime, after: int, until: int) -> list[Delivery]:
        bounds = {"after": after, "until": until, "batches": BATCHES_VISITED}
        return await self._deliveries("claim_fairly", {"limit": limit, "now": now} | bounds)

    async def lock(self, deliveries: Sequence[DeliveryId]) -> Sequence[Delivery]:
        wanted = sorted((delivery.batch, delivery.seq) for delivery in deliveries)
        return await self._deliveries("lock", {"wanted": as_json(wanted)})

    async def stranded(self, limit: int, now: datetime) -> Sequence[Delivery]:
        return await self._deliveries(
            "stranded",
            {
                "limit": limit,
                "now": now,
                "lease": self._ledger._lease,
                "publishing": PUBLISHING,
                "after_dispatch": STREAMS_AFTER_DISPATCH,
                "envelopes": STREAM_OF_ENVELOPES,
            },
        )

    async def room(self) -> int:
        return await self._ledger._in_hand.room(self._connection)

    async def batch(self, number: int) -> BatchContent:
        return await self._ledger.content(self._connection, number)

    async def anything_due(self, now: datetime) -> bool:
        row = await (await self._connection.execute(SQL["anything_due"], {"now": now})).fetchone()
        assert row is not None
        return bool(row["due"])

    async def move(self, moves: Sequence[Move], now: datetime) -> None:
        if not moves:
            return
        rows = [
            (
                *(move.id.batch, move.id.seq, move.status, move.attempts, move.emission, move.due_at),
                *(move.edge, move.published_seq, move.answered, move.untaken),
            )
            for move in moves
        ]
        await self._connection.execute(SQL["move"], {"now": now, "moves": as_json(rows)})
        self._ledger._in_hand.taken(sum(move.status is Status.SENDING for move in moves))

    async def end_cancelled(self, deliveries: Sequence[DeliveryId]) -> None:
        wanted = sorted((delivery.batch, delivery.seq) for delivery in deliveries)
        await self._connection.execute(
            SQL["end_cancelled"], {"wanted": as_json(wanted), "waiting": list(WAITING)}
        )

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        rows = [
            (
                *(it.id.batch, it.id.seq, it.type, it.attempt, it.at, it.message_id, it.domain),
                *(it.recipient, it.data, it.only_first),
            )
            for it in outcomes
        ]
        names = {str(name) for it in outcomes if (name := it.data.get("exchanger"))}
        await self._connection.execute(
            SQL["record"],
            {
                "outcomes": as_json(rows),
                "told_once": _TOLD_ONCE,
                "providers": as_json({name: provider_of(name) for name in names}),
            },
        )

    async def record_engagements(self, engagements: Sequence[Engagement], now: datetime) -> int:
        return await record_engagements(self._connection, engagements, now)

    async def remember_engagements(self, ids: Sequence[str], now: datetime) -> Collection[str]:
        wanted = {"ids": sorted(set(ids)), "now": now}
        rows = await self._connection.execute(SQL["remember_engagements"], wanted)
        return {row["id"] for row in await rows.fetchall()}

    async def reported(self, deliveries: Sequence[DeliveryId]) -> Mapping[DeliveryId, Collection[str]]:
        if not deliveries:
            return {}
        wanted = [(delivery.batch, delivery.seq) for delivery in deliveries]
        told = {"wanted": as_json(wanted), "told_once": _TOLD_ONCE}
        rows = await self._connection.execute(SQL["reported"], told)
        found: dict[DeliveryId, set[str]] = {}
        for row in await rows.fetchall():
            found.setdefault(DeliveryId(row["batch"], row["seq"]), set()).add(row["type"])
        return found

    async def keep_report(self, report: ReportJudged, domain: str) -> bool:
        counted = await self._connection.execute(
            SQL["keep_report"],
            {
                "identity": report.identity(),
                "at": report.at,
                "kind": report.kind,
                "reason": report.reason,
                "domain": domain,
                "recipients": as_json(report.recipients),
                "deliveries": as_json(report.deliveries),
                "told": as_json(report.told),
                "sender": report.sender,
                "client": report.client,
                "size": report.size,
                "head": report.head,
            },
        )
        return counted.rowcount == 1

    async def note_soft_bounces(self, bounces: Sequence[Happening], window: timedelta) -> Sequence[int]:
        return await note_soft_bounces(self._connection, bounces, window)

    async def suppress(self, suppressions: Sequence[Suppression], now: datetime) -> None:
        await write_suppressions(self._connection, suppressions, now)

    async def _deliveries(self, query: str, arguments: dict[str, object]) -> list[Delivery]:
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(SQL[query], arguments)
            return [_delivery(row) for row in await cursor.fetchall()]


def _delivery(row: TupleRow) -> Delivery:
    batch, seq, status, attempts, emission, email, fields, due_at, expires_at, *rest = row
    answered, edge, first_emitted_at, tracking, message_id, domain = rest
    return Delivery(
        id=DeliveryId(batch, seq),
        recipient=email,
        fields=fields or {},
        standing=Standing(_STATUSES[status], attempts, emission, due_at, expires_at, answered),
        edge=edge,
        message_id=message_id,
        domain=domain,
        first_emitted_at=first_emitted_at,
        tracking=None if tracking is None else Policy.of_digits(tracking),
    )


def _announcements(rows: Iterable[DictRow]) -> Iterable[Announcement]:
    """Chunks that begin at the same numbers as the gateway's, so that a repeat of them is recognised."""
    for _, group in groupby(rows, key=lambda row: (row["batch"], row["seq"] // MAX_CHUNK_ITEMS)):
        members = list(group)
        yield Announcement(
            batch=members[0]["batch"],
            announcement=members[0]["announcement"],
            recipients=tuple(Candidate(row["seq"], row["email"]) for row in members),
            traceparent=members[0]["traceparent"],
        )
