"""Suppressions as rows of CSV: read one after the other, the bad ones named; and written."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kannon.core.errors import BadInput

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

COLUMNS: Final = ("address", "reason", "source", "created_at", "expires_at", "message_id", "detail")
ADDRESS_COLUMNS: Final = ("address", "email")
MOMENTS: Final = ("created_at", "expires_at")
MAX_LINE: Final = 1024 * 1024
"""Octets of one line."""
BOM: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = ",;\t"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that says no suppression.

    Attributes:
        line: where it begins, from 1.
    """

    line: int
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row, read."""

    line: int
    suppression: "admin_pb2.NewSuppression"


def read_rows(lines: Iterable[bytes]) -> Iterator[Row | BadRow]:
    """The rows of a list in CSV (RFC 4180) with a header, in UTF-8; empty lines do not count.

    The column `address`, or `email`, is required; `reason`, `created_at`, `expires_at` and `detail` count
    where they are there, others do not. Cells are separated by a comma, a semicolon or a tab.

    Raises:
        BadInput: the header has no such column.
    """
    text = _decoded(lines)
    first = next(text, "")
    delimiter = max(_DELIMITERS, key=first.count)
    columns = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    place = next((columns.index(name) for name in ADDRESS_COLUMNS if name in columns), None)
    if place is None:
        raise BadInput('line 1: a header with the column "address" or "email" is expected')
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        line = reader.line_num + 2
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadRow(line, "", f"is no CSV: {error}")
            continue
        if cells is None:
            return
        if cells:
            yield _read(line, columns, cells, place)


def csv_row(suppression: "admin_pb2.Suppression") -> list[str]:
    """The cells of a suppression, in the order of `COLUMNS`."""
    return [
        _moment(suppression, name) if name in MOMENTS else str(getattr(suppression, name)) for name in COLUMNS
    ]


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines as text; what is not UTF-8 comes as lone surrogates, by which `_read` knows it."""
    for number, line in enumerate(lines):
        yield (line if number else line.removeprefix(BOM)).decode(errors="surrogateescape")


def _read(line: int, columns: list[str], cells: list[str], place: int) -> Row | BadRow:
    from kannon.adapters.pb import admin_pb2

    address = cells[place].strip() if place < len(cells) else ""
    if len(cells) != len(columns):
        reason = f"the number of cells is {len(cells)}, that of columns in the header is {len(columns)}"
        return BadRow(line, address, reason)
    values = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    made = admin_pb2.NewSuppression()
    try:
        made.address, made.reason = address, values.get("reason", "")
        made.detail = values.get("detail", "")
        for name in MOMENTS:
            if values.get(name):
                getattr(made, name).FromDatetime(_read_moment(name, values[name]))
    except UnicodeEncodeError:
        return BadRow(line, "", "is not UTF-8; save the list as UTF-8")
    except BadInput as error:
        return BadRow(line, address, str(error))
    return Row(line, made)


def _read_moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(f"{name}: {text!r} is no time like 2027-01-31T08:00:00Z") from None


def _moment(suppression: "admin_pb2.Suppression", name: str) -> str:
    if not suppression.HasField(name):  # type: ignore[arg-type]  # one of MOMENTS
        return ""
    moment: datetime = getattr(suppression, name).ToDatetime(tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")
