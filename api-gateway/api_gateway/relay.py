"""Two connections as one: what comes on either goes out on the other, as fast as that takes it."""

import asyncio
from collections.abc import Callable
from typing import Final

LAST_OCTETS_SECONDS: Final = 10.0
"""For what is still to be written where the other connection has ended."""


def joined(one: asyncio.Transport, other: asyncio.Transport, ended: Callable[[], None]) -> None:
    """Join two connections that read nothing yet; both end when either does.

    Args:
        ended: called once `one` has ended.
    """
    halves = _Half(one, other, ended), _Half(other, one, lambda: None)
    for half in halves:
        half.source.set_protocol(half)
    halves[0].opposite, halves[1].opposite = halves[1], halves[0]
    for half in halves:
        half.source.resume_reading()


class _Half(asyncio.Protocol):
    """Carries what comes from `source` to `target`."""

    opposite: "_Half"

    def __init__(
        self, source: asyncio.Transport, target: asyncio.Transport, ended: Callable[[], None]
    ) -> None:
        self.source = source
        self.target = target
        self.at_end = False
        self._ended = ended

    def data_received(self, data: bytes) -> None:
        self.target.write(data)

    def eof_received(self) -> bool:
        """Its sender says no more, but may still listen."""
        self.at_end = True
        if self.opposite.at_end or self.target.is_closing():
            return False
        self.target.write_eof()
        return True

    def pause_writing(self) -> None:
        """`source` takes no more for now, so the other end must not send."""
        if not self.target.is_closing():
            self.target.pause_reading()

    def resume_writing(self) -> None:
        if not self.target.is_closing():
            self.target.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._ended()
        self.target.close()  # once it has written what it holds
        asyncio.get_running_loop().call_later(LAST_OCTETS_SECONDS, self.target.abort)
