"""Lists of Recipients: files that are gone through row by row, whatever their length."""

import shutil
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from kannon.cli.sending.rows import BOM, MAX_LINE, BadRow, ListedRecipient, decoded, read_csv, read_json_lines
from kannon.core.errors import BadInput


class BadList(BadInput):
    """A list has not the form that it must have; the text names file and line, and what is expected."""


class ListFormat(StrEnum):
    """How a list is written."""

    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES: Final = {
    ".csv": ListFormat.CSV,
    ".tsv": ListFormat.CSV,
    ".jsonl": ListFormat.JSONL,
    ".ndjson": ListFormat.JSONL,
}


class RecipientList:
    """A list of Recipients that can be gone through again and again.

    Args:
        name: of the file.
        file: what cannot be read twice, a pipe, is copied to a temporary file.
        form: None if the list has to tell: by its name's suffix, else by its first character.
    """

    def __init__(self, name: str, file: BinaryIO, form: ListFormat | None = None) -> None:
        self.name = name
        self._file = _rewindable(file)
        self._start = self._file.tell()
        self.format = form or _SUFFIXES.get(Path(name).suffix.lower()) or self._format_seen()

    def __iter__(self) -> Iterator[ListedRecipient]:
        """Every Recipient, from the beginning.

        Raises:
            BadList: a row has not the form that it must have.
        """
        self._file.seek(self._start)
        lines = decoded(iter(lambda: self._file.readline(MAX_LINE + 1), b""))
        try:
            yield from read_csv(lines) if self.format is ListFormat.CSV else read_json_lines(lines)
        except BadRow as error:
            raise BadList(f"{self.name}, line {error.line}: {error.reason}") from None

    def _format_seen(self) -> ListFormat:
        beginning = self._file.read(MAX_LINE).removeprefix(BOM).lstrip()
        return ListFormat.JSONL if beginning.startswith(b"{") else ListFormat.CSV


def _rewindable(file: BinaryIO) -> BinaryIO:
    if file.seekable():
        return file
    kept = tempfile.TemporaryFile()  # noqa: SIM115  # it goes with the process
    shutil.copyfileobj(file, kept)
    kept.seek(0)
    return kept
