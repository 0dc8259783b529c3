"""A journal that keeps nothing: the fake beside the real one."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import msgspec

from edge_smtp.attempts import AttemptId, Result, Standing, State, decide
from edge_smtp.journal import Answer, Counts, JournalUnavailable, Unfinished
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.payloads import Delivered, Emitted, Refused


@dataclass
class Row:
    standing: Standing
    expires_at_ms: int
    envelope: Envelope | None
    result: Result | None = None
    exchanger: str = ""


class MemoryJournal:
    """Implements `edge_smtp.journal.Journal`.

    Args:
        broken: while true, nothing can be written.
    """

    def __init__(self, capacity: int = 20_000, born_at_ms: int = 0) -> None:
        self.id = "memory"
        self.born_at_ms = born_at_ms
        self.results_waiting = asyncio.Event()
        self.rows: dict[DeliveryId, Row] = {}
        self.broken = False
        self._capacity = capacity

    def _check(self) -> None:
        if self.broken:
            raise JournalUnavailable("the journal is broken")

    async def take(
        self, envelopes: Sequence[Envelope], without_room: Collection[DeliveryId] = ()
    ) -> Sequence[Answer]:
        self._check()
        return [self._take(envelope, envelope.delivery not in without_room) for envelope in envelopes]

    def _take(self, envelope: Envelope, may_be_taken: bool) -> Answer:
        row = self.rows.get(envelope.delivery)
        known = row.standing if row else None
        decision = decide(
            envelope,
            known,
            has_room=may_be_taken and self._held() < self._capacity,
            born_at_ms=self.born_at_ms,
        )
        after = decision.standing
        if after is not None and decision.is_new:
            self.rows[envelope.delivery] = Row(after, envelope.expires_at_ms, envelope)
        elif after is not None and row is not None:
            row.standing = after
            self.results_waiting.set()
        return Answer(decision.verdict, decision.reason, decision.is_new, after.ambiguities if after else 0)

    def _held(self) -> int:
        return sum(row.envelope is not None for row in self.rows.values())

    async def counts(self) -> Counts:
        self._check()
        unpublished = sum(row.standing.state is State.RESULT for row in self.rows.values())
        return Counts(self._held(), unpublished)

    def _in_hand(self, attempt: AttemptId) -> Row | None:
        row = self.rows.get(attempt.delivery)
        if row and row.standing.attempt == attempt.attempt and row.standing.state < State.RESULT:
            return row
        return None

    async def intend(self, attempt: AttemptId, ambiguities: int, exchanger: str) -> bool:
        self._check()
        row = self._in_hand(attempt)
        if row:
            row.standing = replace(row.standing, state=State.INTENT, ambiguities=ambiguities)
            row.exchanger = exchanger
        return row is not None

    def finish(self, attempt: AttemptId, result: Result) -> asyncio.Future[None]:
        row = self._in_hand(attempt)
        if row:
            row.result, row.envelope = result, None
            row.standing = replace(row.standing, state=State.RESULT, ambiguities=result.ambiguities)
            self.results_waiting.set()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def unpublished(self, limit: int) -> Sequence[Delivered | Refused]:
        self._check()
        waiting = [
            row.result.event(AttemptId(d.batch, d.seq, row.standing.attempt), row.standing.emission)
            for d, row in self.rows.items()
            if row.result is not None and row.standing.state is State.RESULT
        ]
        return waiting[:limit]

    async def mark_published(self, emissions: Sequence[Emitted]) -> None:
        for emitted in emissions:
            row = self.rows[emitted.delivery]
            if (row.standing.attempt, row.standing.emission) == (emitted.attempt, emitted.emission):
                row.standing = replace(row.standing, state=State.PUBLISHED)

    async def unfinished(self) -> Sequence[Unfinished]:
        return [
            Unfinished(
                AttemptId(d.batch, d.seq, row.standing.attempt),
                row.standing.state,
                row.standing.ambiguities,
                row.exchanger,
                row.envelope.recipient,
                row.expires_at_ms,
            )
            for d, row in sorted(self.rows.items())
            if row.envelope is not None
        ]

    async def envelope(self, attempt: AttemptId) -> Envelope | None:
        row = self._in_hand(attempt)
        return replace(row.envelope, emission=row.standing.emission) if row and row.envelope else None

    async def prune(self, expired_before_ms: int) -> int:
        old = [
            d
            for d, row in self.rows.items()
            if row.standing.state is State.PUBLISHED and row.expires_at_ms < expired_before_ms
        ]
        for delivery in old:
            del self.rows[delivery]
        return len(old)

    async def forget(self, deliveries: Sequence[DeliveryId]) -> int:
        forgotten = 0
        for delivery in deliveries:
            row = self.rows.get(delivery)
            if row and row.result and row.result.text and row.standing.state is State.PUBLISHED:
                row.result = msgspec.structs.replace(row.result, text="")
                forgotten += 1
        return forgotten

    async def close(self) -> None:
        pass
