"""Recipients that were refused: who, why, and a file of them that can be corrected and sent again."""

import csv
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from kannon.adapters.pb.mailer_pb2 import RejectedRecipient
from kannon.cli.sending.chunks import Chunk, is_address
from kannon.cli.sending.recipient_lists import ListFormat
from kannon.cli.sending.rows import EMAIL, ListedRecipient

REASON: Final = "refused"
LINE: Final = "refused_line"
INVALID_EMAIL: Final = "invalid_email"
DUPLICATE: Final = "duplicate_recipient"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that no mail is sent to, and a stable token that says why."""

    row: ListedRecipient
    reason: str

    def __str__(self) -> str:
        place = f"line {self.row.line}: " if self.row.line else ""
        return f"{place}{self.row.email}: {self.reason}"

    def as_object(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        line = {"line": self.row.line} if self.row.line else {}
        return {**line, EMAIL: self.row.email, "reason": self.reason}


def told_refusals(chunk: Chunk, rejected: Iterable[RejectedRecipient]) -> Sequence[Refusal]:
    """What the gateway refused of a chunk, and the duplicates that it was not asked for; by their lines."""
    rows: defaultdict[str, deque[ListedRecipient]] = defaultdict(deque)
    for row in chunk.recipients:
        rows[row.email].append(row)
    told = []
    for one in rejected:
        row = rows[one.email].popleft() if rows[one.email] else ListedRecipient(0, one.email, {})
        told.append(Refusal(row, one.reason))
    return _with_duplicates(told, chunk)


def foreseen_refusals(chunk: Chunk) -> Sequence[Refusal]:
    """What of a chunk the gateway would refuse, as far as that can be known without asking it."""
    foreseen = [Refusal(row, INVALID_EMAIL) for row in chunk.recipients if not is_address(row.email)]
    return _with_duplicates(foreseen, chunk)


def _with_duplicates(refusals: Iterable[Refusal], chunk: Chunk) -> Sequence[Refusal]:
    duplicates = (Refusal(row, DUPLICATE) for row in chunk.duplicates)
    return sorted([*refusals, *duplicates], key=lambda refusal: refusal.row.line)


class RefusedRows:
    """A file of refused rows, in the form of their list, with the columns `refused_line` and `refused`."""

    def __init__(self, file: TextIO, form: ListFormat) -> None:
        self._file = file
        self._form = form
        self._writer: csv.DictWriter[str] | None = None

    def write(self, refusal: Refusal) -> None:
        """Add a row."""
        row = {EMAIL: refusal.row.email, **refusal.row.fields, LINE: refusal.row.line, REASON: refusal.reason}
        if self._form is ListFormat.JSONL:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        if self._writer is None:  # all rows of a CSV list have the same columns
            self._writer = csv.DictWriter(self._file, tuple(row), extrasaction="ignore", lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)
