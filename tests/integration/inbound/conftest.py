"""The inbound half of the edge, for each test of this folder on both loops."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.both_loops import event_loop_policy, loop  # noqa: F401 - fixtures
from tests.inbound_harness import Inbound, Make


@pytest.fixture
async def inbound() -> AsyncIterator[Make]:
    """Makes what takes reports, running."""
    running: list[Inbound] = []

    async def make(*arguments: Any, **named: Any) -> Inbound:
        running.append(await Inbound(*arguments, **named).start())
        return running[-1]

    yield make
    for one in running:
        await one.stop()
