"""Rows for people and for pipes: aligned beneath headings on a terminal, a tab between fields elsewhere."""

import shutil
import sys
from collections.abc import Iterable, Sequence

import click

GAP = "  "


class Table:
    """Prints rows as they come, so many or few at once.

    Args:
        headings: of all columns.
        left_out: columns that a terminal does not show, since they would say the same in each row.
    """

    def __init__(self, headings: Sequence[str], left_out: Iterable[str] = ()) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._headings = headings
        self._shown = [at for at, heading in enumerate(headings) if heading not in frozenset(left_out)]
        self._widths: list[int] = []

    def print(self, rows: Iterable[Sequence[str]]) -> None:
        """Print rows; whatever they hold, a row is one line and a field stays in its place."""
        safe = [[printable(field) for field in row] for row in rows]
        if self._on_terminal:
            self._print_aligned([[row[at] for at in self._shown] for row in safe])
        else:
            for row in safe:
                click.echo("\t".join(row))

    def _print_aligned(self, rows: list[list[str]]) -> None:
        from rich.cells import cell_len

        if not rows:
            return
        if not self._widths:
            headings = [self._headings[at] for at in self._shown]
            self._widths = [0] * len(headings)
            rows = [headings, *rows]
        for at, column in enumerate(zip(*rows, strict=True)):
            self._widths[at] = max(self._widths[at], *(cell_len(field) for field in column))
        columns = shutil.get_terminal_size().columns
        for row in rows:
            click.echo(_aligned(row, self._widths, columns))


def _aligned(row: Sequence[str], widths: Sequence[int], columns: int) -> str:
    """A line no longer than the terminal is wide: the last field gives way."""
    from rich.cells import cell_len, set_cell_size

    *others, last = row
    start = "".join(set_cell_size(field, width) + GAP for field, width in zip(others, widths, strict=False))
    room = max(columns - cell_len(start), len(GAP))
    return (start + (last if cell_len(last) <= room else set_cell_size(last, room - 1) + "…")).rstrip()


def printable(text: str) -> str:
    """A text from elsewhere, such as an SMTP reply, that cannot steer a terminal nor break a line."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
