"""The procedure of `HZService`: whether what the gateway depends on answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from api_gateway.endpoints import Call
from kannon.adapters.pb.admin_pb2 import HZRequest, HZResponse

ANSWER_SECONDS = 2.0
OK, UNREACHABLE, TIMEOUT = "OK", "unreachable", "timeout"
Check = Callable[[], Awaitable[object]]
"""Asks a dependency for something; returns if it answers, raises if not."""

log = logging.getLogger(__name__)


class HZ:
    """Asks every dependency, at once.

    Args:
        checks: by the dependency's name.
        seconds: how long each may take.
    """

    def __init__(self, checks: Mapping[str, Check], seconds: float = ANSWER_SECONDS) -> None:
        self._checks = dict(checks)
        self._seconds = seconds

    async def hz(self, _request: HZRequest, _call: Call) -> HZResponse:
        """`OK`, `unreachable` or `timeout` for each; nothing more, as anyone may ask."""
        results = await asyncio.gather(*(self._result(name) for name in self._checks))
        return HZResponse(result=dict(zip(self._checks, results, strict=True)))

    async def _result(self, name: str) -> str:
        try:
            async with asyncio.timeout(self._seconds):
                await self._checks[name]()
        except TimeoutError:
            return TIMEOUT
        except Exception as error:  # whatever it is, this dependency does not answer
            log.info(
                "a dependency does not answer", extra={"dependency": name, "error": type(error).__name__}
            )
            return UNREACHABLE
        return OK
