"""Recipients in chunks, each for one call; an address is in one of them only, and there once."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kannon.cli.sending.rows import ListedRecipient
from kannon.core.addresses import EmailAddress, InvalidAddress

PER_CALL: Final = 10_000
MAX_OCTETS: Final = 15 * 1024 * 1024
"""Of a chunk: with the HTML, a call has less than 16 MB, half of what a gateway takes (api.max_message)."""

_OVERHEAD: Final = 16  # octets, at the most, with which the wire surrounds an address, or a field
_CACHE: Final = 16_000  # KB


@dataclass(frozen=True, slots=True)
class Chunk:
    """What goes into one call.

    Attributes:
        number: its place in the list, from 1.
        duplicates: rows whose address stood before; they are left out.
    """

    number: int
    recipients: tuple[ListedRecipient, ...]
    duplicates: tuple[ListedRecipient, ...]

    @property
    def rows(self) -> int:
        """How many rows it takes from the list."""
        return len(self.recipients) + len(self.duplicates)


class SeenAddresses:
    """Remembers addresses, on disk where there are many: memory does not grow with a list."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(
            "", isolation_level=None
        )  # a temporary file, gone with the connection
        for statement in (
            f"PRAGMA cache_size = -{_CACHE}",
            "PRAGMA journal_mode = OFF",
            "CREATE TABLE seen (address TEXT PRIMARY KEY) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)

    def add(self, address: str) -> bool:
        """Remember an address; gives whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (address,)).rowcount == 1


def chunks(
    rows: Iterable[ListedRecipient], per_call: int = PER_CALL, max_octets: int = MAX_OCTETS
) -> Iterator[Chunk]:
    """Cut a list; the same list is always cut in the same way.

    Args:
        per_call: rows in a chunk, at the most.
        max_octets: of a chunk, as the wire has it; a single row may have more.
    """
    seen = SeenAddresses()
    number, octets = 1, 0
    recipients: list[ListedRecipient] = []
    duplicates: list[ListedRecipient] = []
    for row in rows:
        address = _identity(row.email)
        is_new = not address or seen.add(address)
        size = _octets(row) if is_new else 0
        full = len(recipients) + len(duplicates) >= per_call
        if full or (recipients and octets + size > max_octets):
            yield Chunk(number, tuple(recipients), tuple(duplicates))
            number, octets = number + 1, 0
            recipients, duplicates = [], []
        octets += size
        (recipients if is_new else duplicates).append(row)
    if recipients or duplicates:
        yield Chunk(number, tuple(recipients), tuple(duplicates))


def is_address(text: str) -> bool:
    """Whether the gateway would take it for an address."""
    return bool(_identity(text))


def _identity(email: str) -> str:
    """What two ways of writing one address have in common; nothing for what is no address."""
    try:
        return str(EmailAddress.parse(email))
    except InvalidAddress:
        return ""


def _octets(row: ListedRecipient) -> int:
    fields = sum(len(name.encode()) + len(value.encode()) + _OVERHEAD for name, value in row.fields.items())
    return len(row.email.encode()) + _OVERHEAD + fields
