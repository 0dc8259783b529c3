"""Large calls take turns; small ones never wait for them."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from api_gateway.large_calls import AT_ONCE, LARGE, WAITING, LargeCalls, TooManyLargeCalls


class Calls:
    """Calls that are worked on until they are let go."""

    def __init__(self) -> None:
        self.large_calls, self.let_go, self.begun = LargeCalls(), asyncio.Event(), 0
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self, octets: int, count: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._work(octets)) for _ in range(count)]
        await asyncio.sleep(0)

    async def _work(self, octets: int) -> None:
        async with self.large_calls.turn(octets):
            self.begun += 1
            await self.let_go.wait()

    async def end(self) -> None:
        self.let_go.set()
        await asyncio.gather(*self.tasks)


async def test_few_large_calls_are_worked_on_at_once_and_all_in_the_end() -> None:
    calls = Calls()
    await calls.begin(LARGE, AT_ONCE + WAITING)
    assert calls.begun == AT_ONCE
    await calls.end()
    assert calls.begun == AT_ONCE + WAITING


async def test_more_than_may_wait_are_told_to_come_again() -> None:
    calls = Calls()
    await calls.begin(LARGE, AT_ONCE + WAITING)
    async with AsyncExitStack() as stack:
        with pytest.raises(TooManyLargeCalls) as refused:
            await stack.enter_async_context(calls.large_calls.turn(LARGE))
    assert refused.value.retry_after > 0
    await calls.end()
    async with calls.large_calls.turn(LARGE):
        pass


async def test_small_calls_never_wait() -> None:
    calls = Calls()
    await calls.begin(LARGE, AT_ONCE + WAITING)
    await calls.begin(LARGE - 1, 50)
    assert calls.begun == AT_ONCE + 50
    await calls.end()


async def test_a_call_that_fails_or_is_given_up_makes_room() -> None:
    calls = Calls()
    await calls.begin(LARGE, AT_ONCE + WAITING)
    for task in calls.tasks:
        task.cancel()
    await asyncio.wait(calls.tasks)
    for _ in range(AT_ONCE + WAITING):
        with pytest.raises(RuntimeError):
            async with calls.large_calls.turn(LARGE):
                raise RuntimeError
