"""Work on many suppressions, some of them at once, and what came of it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import click
import grpc

from kannon.cli.options import print_json
from kannon.cli.suppression.asking import Asked
from kannon.cli.suppression.rows import BadRow, Row
from kannon.cli.tables import printable

ADDED_AT_ONCE: Final = 1000
REMOVED_AT_ONCE: Final = 20


@dataclass
class Removal:
    """How many were removed so far, and how many were not there."""

    removed: int = 0
    left: int = 0

    async def do(self, asked: Asked, addresses: Sequence[str]) -> None:
        """Remove these, some at once."""
        for start in range(0, len(addresses), REMOVED_AT_ONCE):
            await asyncio.gather(
                *(self._one(asked, address) for address in addresses[start : start + REMOVED_AT_ONCE])
            )

    async def _one(self, asked: Asked, address: str) -> None:
        try:
            await asked.call("RemoveSuppression", address=address)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise
            self.left += 1
            click.echo(f"{printable(address)}: {printable(error.details() or '')}", err=True)
        else:
            self.removed += 1

    def tell(self, as_json: bool) -> None:
        """Print it."""
        if as_json:
            print_json({"removed": self.removed, "left": self.left})
        else:
            click.echo(f"{self.removed:,} removed, {self.left:,} left")


@dataclass
class Addition:
    """How many rows were added so far, changed nothing, or were refused."""

    added: int = 0
    unchanged: int = 0
    rejected: int = 0

    async def do(self, asked: Asked, rows: Iterable[Row | BadRow]) -> None:
        """Add all rows, some of them a call."""
        remaining = iter(rows)
        while piece := list(islice(remaining, ADDED_AT_ONCE)):
            for bad in piece:
                if isinstance(bad, BadRow):
                    self._refuse(bad.line, bad.address, bad.reason)
            read = [row for row in piece if isinstance(row, Row)]
            if not read:
                continue
            answer = await asked.call("AddSuppressions", suppressions=[row.suppression for row in read])
            self.added += answer.added
            self.unchanged += answer.unchanged
            for one in answer.rejected:
                self._refuse(read[one.index].line, one.address, one.reason)

    def _refuse(self, line: int, address: str, reason: str) -> None:
        self.rejected += 1
        places = (f"line {line}" if line else "", printable(address), printable(reason))
        click.echo(": ".join(place for place in places if place), err=True)

    def tell(self, as_json: bool) -> None:
        """Print it."""
        if as_json:
            print_json({"added": self.added, "unchanged": self.unchanged, "rejected": self.rejected})
        else:
            click.echo(f"{self.added:,} added, {self.unchanged:,} unchanged, {self.rejected:,} rejected")
