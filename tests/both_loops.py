"""Fixtures that run a test on asyncio's loop and on uvloop: import both where its tests are to."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    """Every test runs on both loops."""
    return request.param()


@pytest.fixture(autouse=True)
async def loop(event_loop_policy: asyncio.AbstractEventLoopPolicy) -> AsyncIterator[None]:
    """The loop of the policy; it has nothing to say of connections that are gone when a test ends."""
    running = asyncio.get_running_loop()
    assert isinstance(running, uvloop.Loop) is isinstance(event_loop_policy, uvloop.EventLoopPolicy)
    complaints: list[dict[str, Any]] = []
    running.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    gc.collect()
    assert complaints == []
