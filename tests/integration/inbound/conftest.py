"""The inbound half of the edge, for each test of this folder on both loops."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

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


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    """Every test runs on both loops."""
    return request.param()


@pytest.fixture(autouse=True)
async def loop(event_loop_policy: asyncio.AbstractEventLoopPolicy) -> AsyncIterator[None]:
    """The loop of the policy; it has nothing to complain of when a test ends."""
    running = asyncio.get_running_loop()
    assert isinstance(running, uvloop.Loop) is isinstance(event_loop_policy, uvloop.EventLoopPolicy)
    complaints: list[dict[str, Any]] = []
    running.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    gc.collect()
    assert complaints == []
