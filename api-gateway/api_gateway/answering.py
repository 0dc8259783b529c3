"""Answers calls, whatever protocol they came by: lets them in, gives large ones their turns, and turns every
error into a status."""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

from google.protobuf.message import DecodeError, Message
from grpc import StatusCode

from api_gateway.endpoints import Call, Doorkeeper, Endpoint, Headers
from api_gateway.large_calls import LargeCalls
from api_gateway.received import Received
from api_gateway.statuses import Status, status_of
from kannon.core.errors import BadInput
from kannon.telemetry.catalogue import CALL_SECONDS, CALLS
from kannon.telemetry.tracing import Kind, follow, step, take_over

Parse = Callable[[Endpoint, Received], Awaitable[Message]]
"""Reads the request of an endpoint, and takes its octets; raises BadInput."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """A call ends with this status; it is in the log already."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


class Answering:
    """Lets calls in and answers them; what any of its methods raises is Refused."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper
        self._large_calls = LargeCalls()

    async def admit(self, endpoint: Endpoint, headers: Headers, client: str = "") -> Call:
        """The call, if it is let in; to be asked before its request is read.

        Args:
            client: the address that it comes from.
        """
        traceparent, begins_trace = take_over(headers("traceparent"))
        with _told(endpoint.name, of_success=False):
            call = await self._doorkeeper.admit(endpoint, headers, traceparent, client)
        return replace(call, begins_trace=True) if begins_trace else call

    async def message(self, endpoint: Endpoint, call: Call, received: Received, parse: Parse) -> Message:
        """The answer to a request."""
        with _told(endpoint.name), _step(endpoint, call) as traced:
            async with self._large_calls.turn(received.size):
                return await endpoint.procedure(await parse(endpoint, received), traced)

    async def messages(
        self, endpoint: Endpoint, call: Call, received: Received, parse: Parse
    ) -> AsyncGenerator[Message, None]:
        """The answers of an endpoint that has a stream of them."""
        assert endpoint.stream is not None
        follow(call.traceparent)  # no step: whoever reads the answers decides how long it lasts, and where
        with _told(endpoint.name):
            async with (
                self._large_calls.turn(received.size),
                aclosing(endpoint.stream(await parse(endpoint, received), call)) as stream,
            ):
                async for message in stream:
                    yield message


@contextmanager
def _step(endpoint: Endpoint, call: Call) -> Iterator[Call]:
    attributes = {"rpc.system": "grpc", "rpc.method": endpoint.name}
    with step(endpoint.name, call.traceparent, Kind.SERVER, attributes, is_root=call.begins_trace) as span:
        yield call if span.traceparent == call.traceparent else replace(call, traceparent=span.traceparent)


async def parse_protobuf(endpoint: Endpoint, received: Received) -> Message:
    """See `Parse`."""
    try:
        return endpoint.request.FromString(received.take())  # type: ignore[arg-type]  # it takes any octets
    except DecodeError:
        raise BadInput(f"the request is no valid {endpoint.request.DESCRIPTOR.full_name}") from None


@contextmanager
def _told(procedure: str, *, of_success: bool = True) -> Iterator[None]:
    """Count what happens inside; let in is not yet done."""
    started = time.perf_counter()
    try:
        yield
    except Exception as error:
        seconds = time.perf_counter() - started
        status = status_of(error)
        _count(procedure, status.code.name, seconds)
        about = {
            "procedure": procedure,
            "status": status.code.name,
            "milliseconds": round(seconds * 1000, 1),
        }
        if status.code is StatusCode.INTERNAL:
            log.error("call failed", extra=about, exc_info=error)
        else:
            log.info("call refused", extra=about | {"reason": status.text})
        raise Refused(status) from error
    if of_success:
        _count(procedure, StatusCode.OK.name, time.perf_counter() - started)


def _count(procedure: str, code: str, seconds: float) -> None:
    CALLS.add(1, procedure, code)
    CALL_SECONDS.observe(seconds, procedure)
