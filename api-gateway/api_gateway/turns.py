"""Long work takes turns with other calls."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import monotonic
from typing import TypeVar

TURN = 0.01
"""Seconds of work before other calls are let run."""

T = TypeVar("T")


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, for work on each; now and then others run in between."""
    turn_ends = monotonic() + TURN
    for item in items:
        yield item
        if monotonic() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = monotonic() + TURN
