"""Work that ends early where a signal asks its system to stop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from kannon.cli.standalone.supervisor import Supervisor

INTERRUPTED: Final = 130
"""The exit code of who was interrupted: 128 and SIGINT."""


async def until_done_or_stopped(work: Coroutine[Any, Any, None], supervisor: Supervisor) -> bool:
    """Do it, or leave it where it is when a signal asks to stop; returns whether it came to its end."""
    done = asyncio.create_task(work)
    asked_to_stop = asyncio.create_task(supervisor.asked_to_stop())
    try:
        await asyncio.wait({done, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
        if finished := done.done():
            done.result()
    finally:
        for task in (done, asked_to_stop):
            task.cancel()
        await asyncio.gather(done, asked_to_stop, return_exceptions=True)
    return finished
