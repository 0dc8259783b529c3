"""What only the journal's file can show: crashes, strangers, a full disk."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_smtp.attempts import AttemptId, Result, State
from edge_smtp.journal import JournalUnavailable, JournalUnusable
from edge_smtp.journal_file import JournalFile
from edge_smtp.sqlite_journal import SqliteJournal
from kannon.core.payloads import Emitted
from tests.edge_samples import an_envelope

BORN_MS = 1_690_000_000_000
AT_MS = 1_700_000_123_456
DELIVERED = Result(AT_MS, "", 250, "2.0.0", "queued", "mx.example.test", 0)
FIRST = AttemptId(7, 1, 1)


def image(folder: Path, name: str) -> Path:
    """The journal as a crash at this moment would leave it."""
    for suffix in ("", "-wal"):
        source = folder / f"journal{suffix}"
        if source.exists():
            shutil.copy(source, folder / f"{name}{suffix}")
    return folder / name


@pytest.fixture
async def file_journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(tmp_path / "journal", 100, BORN_MS)
    yield journal
    await journal.close()


async def test_a_crash_loses_nothing_that_was_answered(file_journal: SqliteJournal, tmp_path: Path) -> None:
    await file_journal.take([an_envelope(n) for n in range(1, 5)])
    await file_journal.intend(AttemptId(7, 2, 1), 0, "mx.test")
    await file_journal.finish(AttemptId(7, 3, 1), DELIVERED)
    await file_journal.finish(AttemptId(7, 4, 1), DELIVERED)
    await file_journal.mark_published([Emitted(7, 4, 1, 1)])
    after = await SqliteJournal.open(image(tmp_path, "after"), 4, BORN_MS + 5)
    assert (after.id, after.born_at_ms) == (file_journal.id, BORN_MS)
    assert [(u.attempt.seq, u.state) for u in await after.unfinished()] == [
        (1, State.TAKEN),
        (2, State.INTENT),
    ]
    assert [event.emitted.seq for event in await after.unpublished(10)] == [3]
    assert after.results_waiting.is_set()
    answers = await after.take([an_envelope(n) for n in (5, 6, 8, 4)])
    assert [answer.verdict.value for answer in answers] == ["taken", "taken", "untaken", "taken"]
    assert [answer.is_new for answer in answers] == [True, True, False, False]
    await after.close()


async def test_opens_again_after_closing(tmp_path: Path) -> None:
    first = await SqliteJournal.open(tmp_path / "journal", 100, BORN_MS)
    await first.take([an_envelope()])
    await first.close()
    second = await SqliteJournal.open(tmp_path / "journal", 100, BORN_MS + 9)
    assert len(await second.unfinished()) == 1
    await second.close()


async def test_only_its_owner_may_read_it(file_journal: SqliteJournal, tmp_path: Path) -> None:
    await file_journal.take([an_envelope()])
    assert {entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)} == {0o600}


async def test_two_edges_never_share_a_journal(
    file_journal: SqliteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **options: real(*args, **options | {"timeout": 0.05})
    )
    with pytest.raises(JournalUnusable, match="another process uses it"):
        await SqliteJournal.open(tmp_path / "journal", 100, BORN_MS)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")


def _newer(path: Path) -> None:
    JournalFile(path, 1, 0).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "cannot be opened"),
        (lambda path: path.mkdir(), "cannot be opened"),
        (_foreign, "something else"),
        (_newer, "a newer Kannon wrote it, in format 2"),
    ],
)
async def test_what_it_cannot_go_on_with_stops_the_start(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path / "journal")
    with pytest.raises(JournalUnusable, match=message):
        await SqliteJournal.open(tmp_path / "journal", 100, BORN_MS)


async def test_its_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match="cannot be opened"):
        await SqliteJournal.open(tmp_path / "none" / "journal", 100, BORN_MS)


async def test_a_full_disk_refuses_what_is_new_and_keeps_trying_to_write_facts(
    file_journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_smtp.sqlite_journal.PAUSE", 0.01)
    await file_journal.take([an_envelope()])
    write, full = JournalFile.write, True

    def fails(self: JournalFile, *arguments: object) -> object:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        return write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(JournalFile, "write", fails)
    done = asyncio.ensure_future(file_journal.finish(FIRST, DELIVERED))
    with pytest.raises(JournalUnavailable):
        await file_journal.take([an_envelope(2)])
    with pytest.raises(JournalUnavailable):
        await file_journal.intend(FIRST, 0, "mx.test")
    assert not done.done()
    full = False
    await done
    assert len(await file_journal.unpublished(10)) == 1


async def test_what_cannot_be_written_at_all_does_not_hold_up_the_rest(file_journal: SqliteJournal) -> None:
    await file_journal.take([an_envelope(1), an_envelope(2)])
    broken = file_journal.finish(FIRST, Result(AT_MS, "", 250, "", "\udc80", "", 0))
    with pytest.raises(UnicodeEncodeError):
        await broken
    await file_journal.finish(AttemptId(7, 2, 1), DELIVERED)
    assert [event.emitted.seq for event in await file_journal.unpublished(10)] == [2]


async def test_what_fills_its_share_of_the_disk_is_untaken_until_others_have_gone(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path / "journal", 100, BORN_MS, most=4_000_000)
    large = [an_envelope(n, body=b"x" * 1_500_000) for n in range(1, 6)]
    answers = await journal.take(large)
    assert [answer.verdict for answer in answers] == ["taken"] * 3 + ["untaken"] * 2
    assert [answer.verdict for answer in await journal.take(large[:1])] == ["taken"]
    assert [answer.verdict for answer in await journal.take(large[3:])] == ["untaken"] * 2
    for seq in (1, 2):
        await journal.finish(AttemptId(7, seq, 1), DELIVERED)
        await journal.mark_published([Emitted(7, seq, 1, 1)])
    assert [answer.verdict for answer in await journal.take(large[3:])] == ["taken"] * 2
    await journal.close()
