"""The journal in an SQLite file: calls that wait are written together, with one fsync for all of them."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar

from edge_smtp.attempts import AttemptId, Result
from edge_smtp.journal import Answer, Counts, JournalUnavailable, Unfinished
from edge_smtp.journal_file import MOST, JournalFile, Writes, Written
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.payloads import Delivered, Emitted, Refused
from kannon.telemetry.catalogue import JOURNAL_CALLS, JOURNAL_FAILURES, JOURNAL_SECONDS

T = TypeVar("T")
_log = logging.getLogger(__name__)

GATHER: Final = 0.002
"""Seconds in which calls gather after a group of several: while mails go out side by side, each waits a
little longer, and a transaction serves twice as many of them. A mail that is alone never waits."""
PAUSE: Final = 1.0
"""Seconds to wait after a write that failed."""
PRUNED_AT_ONCE: Final = 1000
"""Rows that pruning takes in one transaction: nobody waits long behind it."""


@dataclass(slots=True)
class _Group:
    """Calls that wait to be written, each with the future its caller waits for."""

    takes: list[tuple[Sequence[Envelope], asyncio.Future[Sequence[Answer]]]] = field(default_factory=list)
    without_room: set[DeliveryId] = field(default_factory=set)
    intents: list[tuple[AttemptId, int, str, asyncio.Future[bool]]] = field(default_factory=list)
    results: list[tuple[AttemptId, Result, asyncio.Future[None]]] = field(default_factory=list)
    published: list[tuple[Sequence[Emitted], asyncio.Future[None]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.takes) + len(self.intents) + len(self.results) + len(self.published)

    def writes(self) -> Writes:
        return Writes(
            [envelope for envelopes, _ in self.takes for envelope in envelopes],
            [(*attempt, ambiguities, exchanger) for attempt, ambiguities, exchanger, _ in self.intents],
            [(attempt, result) for attempt, result, _ in self.results],
            [emitted for emissions, _ in self.published for emitted in emissions],
            self.without_room,
        )

    def settle(self, written: Written) -> None:
        answers = iter(written.answers)
        for envelopes, taken in self.takes:
            _settle(taken, [next(answers) for _ in envelopes])
        for attempt, _, _, intended in self.intents:
            _settle(intended, attempt in written.in_hand)
        for _, _, finished in self.results:
            _settle(finished, None)
        for _, published in self.published:
            _settle(published, None)

    def fail(self, error: JournalUnavailable) -> None:
        """Tell callers who can act otherwise; what is a fact already stays in line."""
        for _, taken in self.takes:
            _refuse(taken, error)
        for _, _, _, intended in self.intents:
            _refuse(intended, error)

    def give_up(self, error: Exception) -> None:
        """Drop facts, too: a restart finds their intents."""
        for _, _, finished in self.results:
            _refuse(finished, error)
        for _, published in self.published:
            _refuse(published, error)


def _refuse(waiting: asyncio.Future[T], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)


def _settle(waiting: asyncio.Future[T], outcome: T) -> None:
    if not waiting.done():  # its caller may have been cancelled
        waiting.set_result(outcome)


class SqliteJournal:
    """A journal in a file of its own (implements `Journal`). Open it with `open`, inside the event loop."""

    def __init__(self, file: JournalFile, thread: ThreadPoolExecutor) -> None:
        self.id = file.id
        self.born_at_ms = file.born_at_ms
        self.results_waiting = asyncio.Event()
        self.results_waiting.set()  # an earlier run may have left some
        self._file = file
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._line = _Group()
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, capacity: int, now_ms: int, most: int = MOST) -> Self:
        """Open the journal at `path`, or make it.

        Args:
            capacity: how many Envelopes it holds at the most.
            now_ms: the birth of a new one, Unix milliseconds.
            most: octets that it fills on the disk at the most, for a last message about.

        Raises:
            JournalUnusable: see `JournalFile`.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        loop = asyncio.get_running_loop()
        try:
            file = await loop.run_in_executor(thread, JournalFile, path, capacity, now_ms, most)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(file, thread)

    async def take(
        self, envelopes: Sequence[Envelope], without_room: Collection[DeliveryId] = ()
    ) -> Sequence[Answer]:
        """See `Journal.take`."""
        taken: asyncio.Future[Sequence[Answer]] = self._loop.create_future()
        self._line.without_room.update(without_room)
        self._line.takes.append((envelopes, taken))
        self._write_soon()
        return await taken

    async def intend(self, attempt: AttemptId, ambiguities: int, exchanger: str) -> bool:
        """See `Journal.intend`."""
        intended: asyncio.Future[bool] = self._loop.create_future()
        self._line.intents.append((attempt, ambiguities, exchanger, intended))
        self._write_soon()
        return await intended

    def finish(self, attempt: AttemptId, result: Result) -> asyncio.Future[None]:
        """See `Journal.finish`."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._line.results.append((attempt, result, done))
        self._write_soon()
        return done

    async def mark_published(self, emissions: Sequence[Emitted]) -> None:
        """See `Journal.mark_published`."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._line.published.append((emissions, done))
        self._write_soon()
        await done

    async def unpublished(self, limit: int) -> Sequence[Delivered | Refused]:
        """See `Journal.unpublished`."""
        return await self._in_thread(lambda: self._file.unpublished(limit))

    async def unfinished(self) -> Sequence[Unfinished]:
        """See `Journal.unfinished`."""
        return await self._in_thread(self._file.unfinished)

    async def envelope(self, attempt: AttemptId) -> Envelope | None:
        """See `Journal.envelope`."""
        return await self._in_thread(lambda: self._file.envelope(attempt))

    async def counts(self) -> Counts:
        """See `Journal.counts`."""
        return await self._in_thread(lambda: self._file.counts())

    async def prune(self, expired_before_ms: int) -> int:
        """See `Journal.prune`."""
        pruned, last = 0, PRUNED_AT_ONCE
        while last == PRUNED_AT_ONCE:
            last = await self._in_thread(lambda: self._file.prune(expired_before_ms, PRUNED_AT_ONCE))
            pruned += last
        return pruned

    async def forget(self, deliveries: Sequence[DeliveryId]) -> int:
        """See `Journal.forget`."""
        return await self._in_thread(lambda: self._file.forget(deliveries))

    async def close(self) -> None:
        """See `Journal.close`. What cannot be written now is given up: a restart finds its intent."""
        self._write_soon()
        writing = self._writing
        if writing is not None:
            await asyncio.wait([writing], timeout=5 * PAUSE)
            writing.cancel()
        await self._loop.run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, read: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._thread, read)
        except sqlite3.Error as error:
            raise JournalUnavailable(f"the journal cannot be used: {error}") from error

    def _write_soon(self) -> None:
        if self._writing is None and self._line:
            self._writing = self._loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._line:
                group, self._line = self._line, _Group()
                await self._write(group)
                if len(group) > 1:
                    await asyncio.sleep(GATHER)
        finally:
            self._writing = None

    async def _write(self, group: _Group) -> None:
        began = time.perf_counter()
        try:
            written = await self._loop.run_in_executor(self._thread, self._file.write, group.writes())
        except sqlite3.Error as error:
            JOURNAL_FAILURES.add(1)
            _log.exception("the journal cannot be written")
            group.fail(JournalUnavailable(f"the journal cannot be written: {error}"))
            self._line.results[:0] = group.results
            self._line.published[:0] = group.published
            await asyncio.sleep(PAUSE)
        except Exception as error:  # ours: to try it again would do no better, and hold up all that follows
            _log.exception("the journal failed")
            group.fail(JournalUnavailable("the journal failed"))
            group.give_up(error)
        else:
            JOURNAL_SECONDS.observe(time.perf_counter() - began)
            JOURNAL_CALLS.add(len(group))
            group.settle(written)
            if written.has_results:
                self.results_waiting.set()
