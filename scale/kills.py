"""Kills an instance of each function in every round, whatever it is at."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping

from scale.front import Front


class Kills:
    """Rounds of SIGKILL.

    Args:
        every: seconds of a round; the functions are killed one after the other, in equal steps.
        seed: decides upon the order, and which instance.

    Attributes:
        count: of all.
        during: of these, while there was work.
    """

    def __init__(self, fronts: Mapping[str, Front], every: float, seed: int) -> None:
        self.count = self.during = 0
        self._fronts = fronts
        self._every = every
        self._random = random.Random(seed)  # noqa: S311 - nothing secret

    async def round(self, is_over: Callable[[], Awaitable[bool]]) -> bool:
        """Kill a ready instance of each function that has one; returns whether the work is over."""
        began, over = time.monotonic(), False
        step = self._every / len(self._fronts)
        order = self._random.sample(sorted(self._fronts), len(self._fronts))
        for number, name in enumerate(order):
            await _until(began + number * step)
            ready = [one for one in self._fronts[name].instances if one.is_ready]
            if ready and self._random.choice(ready).kill():
                self.count += 1
                over = over or await is_over()
                self.during += not over
        await _until(began + self._every)
        return over or await is_over()


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
