"""Calls that are made again until they are answered."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0

T = TypeVar("T")
Waiting = Callable[[grpc.aio.AioRpcError, float], None]
"""Is told of a call that failed, and of the seconds until it is made again."""

_PASSING: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
)
_TOO_LARGE: Final = "larger than max"  # what gRPC says, under RESOURCE_EXHAUSTED, of a message too large


async def until_answered(make: Callable[[], Awaitable[T]], patience: float, waiting: Waiting) -> T:
    """Make a call, and again after a while if what it failed of may pass. The call must be idempotent.

    Args:
        patience: seconds, from the first failure on, after which it is not made again.

    Raises:
        grpc.aio.AioRpcError: it was refused, or still fails.
    """
    retry = 0
    gives_up = 0.0
    while True:
        try:
            return await make()
        except grpc.aio.AioRpcError as error:
            gives_up = gives_up or time.monotonic() + patience
            wait = wait_before(retry, _asked_for(error), random.random())  # noqa: S311  # spreads calls, keeps no secret
            if not may_pass(error) or time.monotonic() + wait > gives_up:
                raise
            waiting(error, wait)
            await asyncio.sleep(wait)
            retry += 1


def may_pass(error: grpc.aio.AioRpcError) -> bool:
    """Whether the same call may be answered later."""
    return error.code() in _PASSING and not is_too_large(error)


def is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Whether the call has more octets than the other side takes."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or "")


def wait_before(retry: int, asked_for: float, chance: float) -> float:
    """Seconds to wait: twice as long each time, and never less than the gateway asked for.

    Args:
        retry: how many retries there were before.
        asked_for: seconds; 0 where the gateway asked for nothing.
        chance: from 0 to 1, so that not all who were refused come back at once.
    """
    backoff = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(retry, 10))
    return max(asked_for, backoff * (0.5 + chance / 2))


def _asked_for(error: grpc.aio.AioRpcError) -> float:
    trailers: Any = error.trailing_metadata() or ()
    asked_for = str(dict(trailers).get("retry-after", ""))
    return float(asked_for) if asked_for.isdecimal() else 0.0
