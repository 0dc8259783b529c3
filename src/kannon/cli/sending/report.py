"""What a run tells: results on stdout; refusals, notes and a bar on stderr."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from kannon.cli.options import print_json
from kannon.cli.sending.chunks import Chunk
from kannon.cli.sending.refusals import Refusal, RefusedRows

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass
class Tally:
    """How far a run came.

    Attributes:
        rows: those whose call was answered.
        calls: answered.
    """

    rows: int = 0
    calls: int = 0
    accepted: int = 0
    refused: int = 0

    def __str__(self) -> str:
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        return f"{calls}, {self.accepted:,} accepted, {self.refused:,} refused"


class Report:
    """Tells what a run does. Use it as a context manager.

    Args:
        total: rows of the list; None for no bar, which needs stderr to be a terminal in any case.
        refused_rows: where refusals are written, instead of to stderr.
    """

    def __init__(self, as_json: bool, total: int | None, refused_rows: RefusedRows | None) -> None:
        self.tally = Tally()
        self._as_json = as_json
        self._refused_rows = refused_rows
        self._progress = _bar(total) if total is not None and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def answered(
        self, chunk: Chunk, message_id: str | None, accepted: int, refusals: Sequence[Refusal]
    ) -> None:
        """Tell of a call that was answered, or is not needed.

        Args:
            message_id: None if nothing was sent.
        """
        self.tally.rows += chunk.rows
        self.tally.calls += 1 if chunk.recipients else 0
        self.tally.accepted += accepted
        self.tally.refused += len(refusals)
        for refusal in refusals:
            if self._refused_rows:
                self._refused_rows.write(refusal)
            else:
                self.note(f"refused: {refusal}")
        self._tell_result(message_id, accepted, refusals)
        if self._progress:
            self._progress.update(self._progress.task_ids[0], completed=self.tally.rows)

    def note(self, text: str) -> None:
        """Tell something on stderr."""
        if self._progress:
            self._above_bar(text)
        else:
            click.echo(text, err=True)

    def _tell_result(self, message_id: str | None, accepted: int, refusals: Sequence[Refusal]) -> None:
        if self._as_json:
            rejected = [refusal.as_object() for refusal in refusals]
            print_json({"message_id": message_id, "accepted": accepted, "rejected": rejected})
        elif message_id and self._progress and sys.stdout.isatty():
            self._above_bar(message_id)
        elif message_id:
            click.echo(message_id)

    def _above_bar(self, text: str) -> None:
        assert self._progress
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _bar(total: int) -> "Progress":
    """A bar of rich, not of click: lines are printed above it, while it stands."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} recipients"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Results go where they belong: stdout may be a pipe, and the bar stands on stderr.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    progress.add_task("", total=total)
    return progress
