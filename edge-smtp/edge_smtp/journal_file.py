"""The journal's file: an SQLite database, and what one group of calls does to it. Used by one thread."""

import os
import re
import secrets
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from edge_smtp.attempts import AttemptId, Decision, Result, Standing, State, decide
from edge_smtp.journal import Answer, Counts, JournalUnusable, Unfinished
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.payloads import Delivered, Emitted, Refused

FORMAT: Final = 1
APPLICATION_ID: Final = 0x4B6E6A31
MOST: Final = 3 * 1024**3
OLDEST_SQLITE: Final = (3, 38)  # the operator ->>
_PRAGMAS: Final = (
    "page_size = 4096",
    "locking_mode = EXCLUSIVE",  # a second edge on the same journal would transmit everything twice
    "journal_mode = WAL",
    "synchronous = FULL",
    # Where SQLite is built to overwrite what is deleted, as Debian's is, each mail was written once more.
    "secure_delete = FAST",
    "wal_autocheckpoint = 4000",
    "cache_size = -16000",  # KiB: what is in hand is seldom more
)
_HERE: Final = Path(__file__).parent
_Key = tuple[int, int]  # batch, seq


def _read_queries() -> dict[str, str]:
    text = (_HERE / "journal_queries.sql").read_text()
    return dict(re.findall(r"^-- name: (\w+)\n(.*?;)$", text, re.MULTILINE | re.DOTALL))


@dataclass(slots=True)
class Writes:
    """What one group of calls wants written, in the order in which it is applied."""

    envelopes: Sequence[Envelope] = ()
    intents: Sequence[tuple[int, int, int, int, str]] = ()
    results: Sequence[tuple[AttemptId, Result]] = ()
    published: Sequence[Emitted] = ()
    without_room: Collection[DeliveryId] = ()


class Written(NamedTuple):
    """What became of it: an answer an Envelope, and which Attempts with an intent are in hand."""

    answers: Sequence[Answer]
    in_hand: frozenset[AttemptId]
    has_results: bool


@dataclass(slots=True)
class _Taking:
    """Envelopes being decided upon: what is known changes from one to the next."""

    known: dict[_Key, Standing]
    changed: dict[_Key, tuple[Standing, int]] = field(default_factory=dict)
    kept: dict[_Key, Envelope] = field(default_factory=dict)
    added: int = 0
    octets: int = 0

    def apply(self, envelope: Envelope, decision: Decision) -> Answer:
        key = (envelope.delivery.batch, envelope.delivery.seq)
        before, after = self.known.get(key), decision.standing
        if after is not None:
            self.known[key] = after
            self.changed[key] = (after, envelope.expires_at_ms)
        if decision.is_new:
            self.kept[key] = envelope
            self.octets += len(envelope.body)
            self.added += before is None or before.state is not State.TAKEN
        return Answer(decision.verdict, decision.reason, decision.is_new, after.ambiguities if after else 0)


class JournalFile:
    """An open journal.

    Args:
        path: the file; made if there is none, its folder is not.
        capacity: how many Envelopes it holds at the most.
        now_ms: the birth of a new journal, Unix milliseconds.
        most: octets that it fills on the disk at the most, for a last message about.

    Raises:
        JournalUnusable: another process has it, it cannot be read, or a newer Kannon wrote it.
    """

    def __init__(self, path: Path, capacity: int, now_ms: int, most: int = MOST) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise JournalUnusable(f"the journal needs SQLite 3.38, this is {sqlite3.sqlite_version}")
        self._queries = _read_queries()
        self._capacity = capacity
        self._most = most
        self._connection = _connect(path)
        try:
            self.id, self.born_at_ms = self._identify(path, now_ms)
            self._held: int = self._value("count_in_hand")
        except sqlite3.Error as error:
            self._connection.close()
            raise _unusable(path, error) from error
        except JournalUnusable:
            self._connection.close()
            raise

    def _identify(self, path: Path, now_ms: int) -> tuple[str, int]:
        if self._pragma("schema_version") == 0:
            self._create(now_ms)
        if self._pragma("application_id") != APPLICATION_ID:
            raise JournalUnusable(f"journal {path}: it is a database of something else")
        written = self._pragma("user_version")
        if written > FORMAT:
            raise JournalUnusable(
                f"journal {path}: a newer Kannon wrote it, in format {written}; this one knows {FORMAT}"
            )
        name, born_at_ms = self._connection.execute("SELECT id, born_at_ms FROM journal").fetchone()
        return name, born_at_ms

    def _create(self, now_ms: int) -> None:
        schema = (_HERE / "journal_schema.sql").read_text()
        pragmas = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
        birth = f"INSERT INTO journal VALUES ('{secrets.token_hex(8)}', {int(now_ms)});"  # noqa: S608
        self._connection.executescript(f"BEGIN IMMEDIATE; {pragmas} {schema} {birth} COMMIT;")

    def write(self, writes: Writes) -> Written:
        """Apply a group in one transaction; on the disk when this returns.

        Raises:
            sqlite3.Error: nothing of it was written.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answers, added = self._take(writes.envelopes, writes.without_room)
            in_hand = self._intend(writes.intents)
            finished = self._run("write_results", [(*id_, it.ambiguities, it) for id_, it in writes.results])
            self._mark_published(writes.published)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._held += added - finished
        raised = any(not answer.is_new for answer in answers)  # it may have been published before
        return Written(answers, in_hand, bool(writes.results) or raised)

    def _take(
        self, envelopes: Sequence[Envelope], without_room: Collection[DeliveryId]
    ) -> tuple[list[Answer], int]:
        if not envelopes:
            return [], 0
        rows = self._json("known", [(e.delivery.batch, e.delivery.seq) for e in envelopes])
        taking = _Taking({(row[0], row[1]): Standing(row[2], row[3], row[4], State(row[5])) for row in rows})
        answers = []
        left = self._most - self._filled()
        for envelope in envelopes:
            known = taking.known.get((envelope.delivery.batch, envelope.delivery.seq))
            has_room = (
                self._held + taking.added < self._capacity
                and taking.octets < left
                and envelope.delivery not in without_room
            )
            decision = decide(envelope, known, has_room=has_room, born_at_ms=self.born_at_ms)
            answers.append(taking.apply(envelope, decision))
        self._run(
            "write_standings",
            [
                (*key, it.attempt, it.emission, it.ambiguities, it.state, expires_at_ms)
                for key, (it, expires_at_ms) in taking.changed.items()
            ],
        )
        self._keep(taking.kept)
        return answers, taking.added

    def _filled(self) -> int:
        """Octets of the file that hold anything: what was deleted leaves pages that are used again."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * self._pragma("page_size")

    def _keep(self, envelopes: dict[_Key, Envelope]) -> None:
        rows: list[tuple[object, ...]] = []
        octets: list[bytes] = []
        at = 1  # where SQLite begins to count
        for key, e in envelopes.items():
            body_at = at + len(e.hmac)
            lengths = (at, len(e.hmac), body_at, len(e.body))
            rows.append((*key, e.sender, e.recipient, e.return_path, e.first_emitted_at_ms, *lengths))
            octets += (e.hmac, e.body)
            at = body_at + len(e.body)
        self._run("keep_envelopes", rows, b"".join(octets))

    def _intend(self, intents: Sequence[tuple[int, int, int, int, str]]) -> frozenset[AttemptId]:
        written = self._run("write_intents", intents)
        found = intents if written == len(intents) else self._json("in_hand", intents)
        return frozenset(AttemptId(*row[:3]) for row in found)

    def _mark_published(self, emissions: Sequence[Emitted]) -> None:
        rows = [(e.batch, e.seq, e.attempt, e.emission) for e in emissions]
        self._run("mark_published", rows)
        self._run("drop_envelopes", rows)

    def unpublished(self, limit: int) -> list[Delivered | Refused]:
        """Up to `limit` results that are to be published."""
        rows = msgspec.json.decode(
            self._value("unpublished", limit), type=list[tuple[int, int, int, int, Result]]
        )
        return [
            result.event(AttemptId(batch, seq, attempt), emission)
            for batch, seq, attempt, emission, result in rows
        ]

    def unfinished(self) -> list[Unfinished]:
        """The Attempts without result."""
        rows = self._connection.execute(self._queries["unfinished"]).fetchall()
        return [Unfinished(AttemptId(*row[:3]), State(row[3]), *row[4:]) for row in rows]

    def counts(self) -> Counts:
        """How much there is."""
        return Counts(self._held, self._value("count_unpublished"))

    def envelope(self, attempt: AttemptId) -> Envelope | None:
        """The Envelope of an Attempt, while it has no result."""
        row = self._connection.execute(self._queries["envelope"], attempt).fetchone()
        return Envelope(attempt.delivery, attempt.attempt, *row) if row else None

    def prune(self, expired_before_ms: int, limit: int) -> int:
        """Forget up to `limit` published Attempts that expired before then; returns how many."""
        return self._connection.execute(self._queries["prune"], (expired_before_ms, limit)).rowcount

    def forget(self, deliveries: Sequence[DeliveryId]) -> int:
        """Forget the texts of published replies; returns of how many there was one."""
        return self._run("forget", [(one.batch, one.seq) for one in deliveries])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _value(self, query: str, *parameters: object) -> Any:
        return self._connection.execute(self._queries[query], parameters).fetchone()[0]

    def _json(self, query: str, rows: Sequence[object]) -> Any:
        return msgspec.json.decode(self._value(query, msgspec.json.encode(rows).decode()))

    def _run(self, query: str, rows: Sequence[object], *parameters: object) -> int:
        if not rows:
            return 0
        encoded = msgspec.json.encode(rows).decode()
        return self._connection.execute(self._queries[query], (encoded, *parameters)).rowcount


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it holds mail: nobody else's to read
        connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    return connection


def _unusable(path: Path, error: Exception) -> JournalUnusable:
    why = "another process uses it" if "locked" in str(error) else f"it cannot be opened ({error})"
    return JournalUnusable(f"journal {path}: {why}")
