"""Rows of a list of Recipients, from CSV with a header or from JSON Lines; one after the other."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

MAX_LINE: Final = 1024 * 1024
"""Octets of one line; what a message may hold is less."""
EMAIL: Final = "email"
FIELDS: Final = "fields"
BOM: Final = b"\xef\xbb\xbf"

_DELIMITERS: Final = ",;\t"
_JSON_KINDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "a list",
    bool: "a truth value",
    type(None): "null",
}
# Numbers stay as they are written: 1.50 is not 1.5, and nothing is rounded.
_JSON: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class BadRow(Exception):
    """A line is not as it must be."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ListedRecipient:
    """One row of a list.

    Attributes:
        line: where it begins, from 1; 0 for one that is in no list.
        email: as written, without the spaces around it; whether it is an address is for the gateway to say.
    """

    line: int
    email: str
    fields: Mapping[str, str]


def decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines of UTF-8 as text, without a byte order mark.

    Raises:
        BadRow: a line is not UTF-8, or is longer than MAX_LINE.
    """
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            raise BadRow(number, f"is longer than {MAX_LINE:,} octets")
        try:
            yield (line.removeprefix(BOM) if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise BadRow(number, "is not UTF-8; save the list as UTF-8") from None


def read_csv(lines: Iterator[str]) -> Iterator[ListedRecipient]:
    """Recipients from CSV (RFC 4180) with a header; its columns are the fields. Empty lines do not count.

    Cells are separated by what separates those of the header: a comma, a semicolon or a tab.

    Raises:
        BadRow: the header or a row is not as it must be.
    """
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    rows = _cells(chain((first,), lines), delimiter)
    line, header = next(rows, (1, []))
    columns = [name.strip() for name in header]
    _check_header(line, columns)
    place = columns.index(EMAIL)
    for line, cells in rows:
        if len(cells) != len(columns):
            raise BadRow(
                line, f"the number of cells is {len(cells)}, that of columns in the header is {len(columns)}"
            )
        fields = {
            name: _clean(line, name, cell)
            for name, cell in zip(columns, cells, strict=True)
            if name != EMAIL  # each Recipient has it anyway
        }
        yield ListedRecipient(line, _clean(line, EMAIL, cells[place].strip()), fields)


def read_json_lines(lines: Iterable[str]) -> Iterator[ListedRecipient]:
    """Recipients from JSON Lines: objects whose keys but `email` are the fields, or stand within `fields`.

    Numbers become fields as they are written, truth values as `true` and `false`, null as an empty text.

    Raises:
        BadRow: a line is not as it must be.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _JSON.decode(line.strip())
        except json.JSONDecodeError as error:
            raise BadRow(number, f"is no JSON: {error.msg} at character {error.pos + 1}") from None
        except RecursionError:
            raise BadRow(number, "is nested too deep") from None
        yield _recipient(number, row)


def _cells(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows, each with the number of the line on which it begins."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadRow(line, _csv_reason(str(error))) from None
        if cells is None:
            return
        if cells:
            yield line, cells


def _csv_reason(text: str) -> str:
    if "unexpected end" in text:
        return "begins a cell with a quotation mark that is never closed"
    if "field limit" in text:
        return f"has a cell longer than {csv.field_size_limit():,} characters; is a quotation mark left open?"
    if "expected after" in text:
        return "has text after the closing quotation mark of a cell; one within a cell is written twice"
    return f"is no CSV: {text}"


def _check_header(line: int, columns: Sequence[str]) -> None:
    if EMAIL not in columns:
        shown = ", ".join(f'"{name}"' for name in columns[:20]) or "nothing"
        raise BadRow(line, f'a header with the column "{EMAIL}" is expected; there is {shown}')
    for number, name in enumerate(columns, start=1):
        if not name:
            raise BadRow(line, f"column {number} of the header has no name")
        if columns.index(name) != number - 1:
            raise BadRow(line, f'the header has the column "{name}" twice')


def _recipient(line: int, row: object) -> ListedRecipient:
    if not isinstance(row, dict):
        raise BadRow(line, f'holds no object; {{"{EMAIL}": "…", "name": "…"}} is expected')
    email = row.pop(EMAIL, None)
    if not isinstance(email, str):
        raise BadRow(line, f'has no text as "{EMAIL}"')
    values: dict[str, Any] = row
    if isinstance(row.get(FIELDS), dict):
        values = row.pop(FIELDS)
        if row:
            raise BadRow(line, f'has "{min(row)}" beside "{FIELDS}"; put it into "{FIELDS}"')
    fields = {name: _clean(line, name, _text(line, name, value)) for name, value in values.items()}
    return ListedRecipient(line, _clean(line, EMAIL, email.strip()), fields)


def _text(line: int, name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    kind = _JSON_KINDS[type(value)]
    raise BadRow(line, f'"{name}" holds {kind}; a text, a number, true, false or null is expected')


def _clean(line: int, name: str, value: str) -> str:
    if "\0" in value:
        raise BadRow(line, f'"{name}" holds a NUL character')
    try:
        (name + value).encode()
    except UnicodeEncodeError:
        raise BadRow(line, f'"{name}" holds half of a surrogate pair') from None
    return value
