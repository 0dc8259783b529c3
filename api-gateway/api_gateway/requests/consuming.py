"""Requests to send that come by NATS: pulled, worked on, and acknowledged once that is committed.

NATS says by its permissions who may publish under a Domain's subject, so the subject alone tells for which
Domain a request is. After a crash between commit and acknowledgement it comes again, and is known by name.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from api_gateway.endpoints import Call
from api_gateway.large_calls import LARGE
from api_gateway.names import read_domain
from api_gateway.requests.desk import RequestDesk
from api_gateway.requests.problems import NotTaken, Problem, of_input
from api_gateway.requests.reading import GivenEvent, read_message
from kannon.core.access import Caller, Role
from kannon.core.errors import BadInput, Unavailable
from kannon.core.limits import Limits
from kannon.core.payloads import SendRefused
from kannon.events import REQUESTS_PREFIX
from kannon.ports import Directory, EventPublisher
from kannon.telemetry.tracing import take_over

AT_ONCE: Final = 4
KEEP_EVERY: Final = 10.0
"""Seconds between signs of life of a request that is worked on: a third of the ack wait."""
LONGEST_WAIT: Final = 60.0
"""Seconds after which one is tried again that waits for something."""
FAILURES: Final = (1.0, 3.0)
"""Seconds before each further try of one that fails for a reason of ours."""
PROCEDURE: Final = "kannon.v1.requests"
CALLER: Final = Caller(Role.SENDER, client="nats")

_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")

log = logging.getLogger(__name__)


class Message(Protocol):
    """A request in our hands."""

    @property
    def subject(self) -> str:
        """The subject that it was published on."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""

    @property
    def data(self) -> bytes:
        """Its data."""

    @property
    def seq(self) -> int:
        """Its number in the stream."""

    async def ack(self) -> None:
        """It is done."""

    async def give_back(self, delay: float = 0.0) -> None:
        """Let it come again, after `delay` seconds."""

    async def keep(self) -> None:
        """It is being worked on."""


class Pulling(Protocol):
    """Pulls one request at a time."""

    async def next(self) -> Message:
        """The next one, however long that takes."""

    async def close(self) -> None:
        """Pull no more."""


class Source(Protocol):
    """Where requests are pulled from."""

    def lane(self) -> Pulling:
        """A way to pull; as many as there shall be requests in hand at once."""


class Burying(Protocol):
    """Keeps dead letters."""

    async def bury(self, event: Any, *, reason: str, status: int | None, item: str = "") -> None:
        """Keep one, and wait until it is stored; raises EventsUnavailable."""


class RequestIntake:
    """Does what requests ask for.

    Args:
        limits: what a Domain may send for which nothing else was set.
        pauses: see `FAILURES`.
    """

    def __init__(
        self,
        desk: RequestDesk,
        directory: Directory,
        publisher: EventPublisher,
        dead_letters: Burying,
        limits: Limits,
        pauses: tuple[float, ...] = FAILURES,
    ) -> None:
        self._desk = desk
        self._directory = directory
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._limits = limits
        self._pauses = pauses

    async def take(self, message: Message) -> None:
        """Do one, and settle it: acknowledged when done or refused for good, else given back for later."""
        async with _kept(message):
            try:
                await self._settle(message)
                await message.ack()
            except NotTaken as error:
                await _give_back(message, error.problem.detail, error.problem.retry_after)
            except Unavailable as error:
                await _give_back(message, str(error), error.retry_after)
            except asyncio.CancelledError:
                await message.give_back()
                raise
            except Exception:  # ours to look into; it is not lost for that
                log.exception("request given back", extra=_about(message, "internal error"))
                await message.give_back(LONGEST_WAIT)

    async def _settle(self, message: Message) -> None:
        """Do it, or refuse it for good; raises NotTaken or Unavailable where it is to come again."""
        event, problem = await self._tried(message)
        for pause in self._pauses:
            if problem is None or problem.status != HTTPStatus.INTERNAL_SERVER_ERROR:
                break
            await asyncio.sleep(pause)
            event, problem = await self._tried(message)
        if problem is None:
            return
        if problem.is_passing and problem.status != HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NotTaken(problem)
        await self._refuse(message, event, problem)

    async def _tried(self, message: Message) -> tuple[GivenEvent | None, Problem | None]:
        """The event, if it can be read, and what is in its way; None if it was done."""
        event = None
        try:
            async with self._desk.answering.turn(len(message.data)):
                event = await self._read(message)
                await self._desk.send(event, await self._call(message, event), len(message.data))
        except NotTaken as error:
            return event, error.problem
        except BadInput as error:
            return event, of_input(error)
        return event, None

    async def _read(self, message: Message) -> GivenEvent:
        if len(message.data) < LARGE:
            return read_message(message.headers, message.data)
        return await asyncio.to_thread(read_message, message.headers, message.data)

    async def _call(self, message: Message, event: GivenEvent) -> Call:
        """Raises BadInput where the subject names no Domain of ours."""
        name = message.subject.removeprefix(REQUESTS_PREFIX)
        domain = read_domain(name)
        own = await self._directory.limits(domain)
        if own is None or domain != name:
            raise BadInput(f"domain: there is no domain {name}")
        trace, begins_trace = take_over(event.attributes.get("traceparent", ""))
        limits = own.over(self._limits)
        return Call(PROCEDURE, trace, domain, limits=limits, caller=CALLER, begins_trace=begins_trace)

    async def _refuse(self, message: Message, event: GivenEvent | None, problem: Problem) -> None:
        """Answer and bury; done twice, that is stored once."""
        source, event_id = event.name if event else ("", "")
        domain = message.subject.removeprefix(REQUESTS_PREFIX)
        refusal = SendRefused(domain, message.seq, source, event_id, problem.detail, problem.field)
        await self._publisher.publish(refusal)
        reason = _NOT_PRINTABLE.sub(" ", problem.detail)  # it stands in a header there
        await self._dead_letters.bury(message, reason=reason, status=int(problem.status))
        log.warning("request refused", extra=_about(message, problem.detail))


class RequestsByNats:
    """Takes requests as they come, several at once."""

    def __init__(self, source: Source, intake: RequestIntake) -> None:
        self._source = source
        self._intake = intake
        self._stopping = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin; returns at once, whether NATS is there or not."""
        self._working = {asyncio.create_task(self._work(self._source.lane())) for _ in range(AT_ONCE)}

    async def stop(self, seconds: float) -> None:
        """Take no more, and finish those in hand; what is not done by then is given back."""
        self._stopping.set()
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, lane: Pulling) -> None:
        stop = asyncio.create_task(self._stopping.wait())
        try:
            while (message := await _next(lane, stop)) is not None:
                await self._intake.take(message)
        finally:
            stop.cancel()
            await lane.close()


async def _next(lane: Pulling, stop: asyncio.Task[bool]) -> Message | None:
    """The next request; None once we are to stop and none came."""
    pulling = asyncio.create_task(lane.next())
    try:
        await asyncio.wait({pulling, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        pulling.cancel()
    await asyncio.wait({pulling})
    return None if pulling.cancelled() else pulling.result()


@contextlib.asynccontextmanager
async def _kept(message: Message) -> AsyncIterator[None]:
    async def keep() -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY)
            await message.keep()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()


async def _give_back(message: Message, reason: str, seconds: float) -> None:
    log.info("request waits", extra=_about(message, reason))
    await message.give_back(min(max(seconds, 1), LONGEST_WAIT))


def _about(message: Message, reason: str) -> dict[str, object]:
    return {"subject": message.subject, "seq": message.seq, "reason": reason}
