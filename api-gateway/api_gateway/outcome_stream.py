"""`StatsApiV3.StreamOutcomes`: all Outcomes of a Domain in the order of commit, from a cursor on."""

import asyncio
import base64
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from api_gateway.endpoints import Call
from api_gateway.names import read_address, read_domain
from api_gateway.statistics_desk import TYPES, check_text, write_event
from kannon.adapters.pb import stats_v3_pb2 as pb
from kannon.core.errors import BadInput, LimitReached, Unavailable
from kannon.core.statistics import Event, LogPlace
from kannon.ports import OutcomeLog

AT_ONCE: Final = 500
FOLLOWERS: Final = 20
"""Streams of one Domain that follow at once: each keeps a call, of which there is an end."""
FOLLOWING: Final = 3600.0
"""Seconds after which a stream that follows ends, so that its credentials are looked at again."""
SHORTEST, LONGEST = 0.1, 1.0
"""Seconds between two looks for more."""
TELLING: Final = 15.0
"""Seconds after which a stream that has nothing to give tells how far it has come."""


class OutcomeStream:
    """Streams what the log has.

    Args:
        clock: seconds that nobody sets.
    """

    def __init__(self, log: OutcomeLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._following: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams that follow."""
        self._closing.set()

    async def stream_outcomes(
        self, request: pb.StreamOutcomesReq, _call: Call
    ) -> AsyncGenerator[pb.StreamOutcomesRes, None]:
        """Outcomes from a cursor on; raises BadInput, CursorAhead and LimitReached."""
        domain, wanted = read_domain(request.domain), _wanted(request)
        if request.cursor and request.from_now:
            raise BadInput("from_now: not with a cursor")
        place = await self._log.end() if request.from_now else _read_place(request.cursor)
        if not request.follow:
            async for answer, _ in self._rest(domain, place, wanted):
                yield answer
            return
        with self._counted(domain):
            async for answer in self._followed(domain, place, wanted):
                yield answer

    async def _followed(
        self, domain: str, place: LogPlace | None, wanted: "_Wanted"
    ) -> AsyncGenerator[pb.StreamOutcomesRes, None]:
        ends_at, told_at, pause = self._clock() + FOLLOWING, None, SHORTEST
        while self._clock() < ends_at:
            start = place
            async for answer, reached in self._rest(domain, place, wanted):
                place = reached
                if answer.outcomes or told_at is None or self._clock() >= told_at:
                    told_at = self._clock() + TELLING
                    yield answer
            pause = SHORTEST if place != start else min(2 * pause, LONGEST)
            if await self._closed_within(pause):
                raise Unavailable("the gateway stops; go on from the last cursor")

    async def _rest(
        self, domain: str, place: LogPlace | None, wanted: "_Wanted"
    ) -> AsyncGenerator[tuple[pb.StreamOutcomesRes, LogPlace | None], None]:
        """All that there is by now; at the end, once more, how far that is."""
        is_more = True
        while is_more:
            page = await self._log.page(domain, place, AT_ONCE)
            place, is_more = page.end, len(page.events) == AT_ONCE
            outcomes = [write_event(event) for event in page.events if wanted.has(event)]
            if outcomes or not is_more:
                yield pb.StreamOutcomesRes(outcomes=outcomes, cursor=_write_place(place)), place
            await asyncio.sleep(0)

    @contextmanager
    def _counted(self, domain: str) -> Iterator[None]:
        if self._following[domain] >= FOLLOWERS:
            raise LimitReached(f"{FOLLOWERS} streams of {domain} follow already", retry_after=10.0)
        self._following[domain] += 1
        try:
            yield
        finally:
            self._following[domain] -= 1
            if not self._following[domain]:
                del self._following[domain]

    async def _closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True


class _Wanted:
    """Which Outcomes are asked for."""

    def __init__(self, types: frozenset[str], message_id: str, email: str) -> None:
        self._types = types
        self._message_id = message_id
        self._email = email

    def has(self, event: Event) -> bool:
        """Whether this is one of them."""
        return (
            (not self._types or event.type in self._types)
            and self._message_id in ("", event.message_id)
            and self._email in ("", event.email)
        )


def _wanted(request: pb.StreamOutcomesReq) -> _Wanted:
    for at, name in enumerate(request.types):
        if name not in TYPES:
            raise BadInput(f"types[{at}]: must be one of {', '.join(sorted(TYPES))}")
    check_text("message_id", request.message_id)
    email = str(read_address("email", request.email)) if request.email else ""
    return _Wanted(frozenset(request.types), request.message_id, email)


def _write_place(place: LogPlace | None) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=") if place else ""


def _read_place(text: str) -> LogPlace | None:
    if not text:
        return None
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(octets, type=LogPlace)
        place = found.place
        if place.at.tzinfo is None or "\0" in place.type + place.id or not _fits(found):
            raise ValueError("not one of ours")
    except (ValueError, msgspec.MsgspecError):
        raise BadInput("cursor: must be what a message of the stream gave") from None
    return found


def _fits(found: LogPlace) -> bool:
    """Whether PostgreSQL has such numbers."""
    numbers = (
        (found.position, 63),
        (found.place.batch, 63),
        (found.place.seq, 31),
        (found.place.attempt, 15),
    )
    return all(abs(number) < 2**bits for number, bits in numbers)
