"""A stage as a function: the one place that turns a request into an event, and a result into an HTTP status.

204  done
400  never valid: no CloudEvent, a foreign type, malformed data, a forged signature
429  come again later, as `Retry-After` says
503  something we need is away; `Retry-After`
500  ours to look into, or somebody refuses an item for good; logged
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol
from urllib.parse import unquote

import msgspec
from cloudevents import exceptions as cloud_exceptions
from cloudevents.http import CloudEvent as ParsedEvent
from cloudevents.http import from_http
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kannon.core.errors import BadInput, MalformedEvent, SinkRefuses, Unavailable
from kannon.core.payloads import AnyPayload
from kannon.events import TICK_TYPE, CloudEvent, Sealer, items_of, name_of, part_of
from kannon.runtime.failpoints import arm_failpoints
from kannon.runtime.logs import start_logging
from kannon.runtime.metrics import PATH, metrics
from kannon.runtime.settings import DEBUG, Settings
from kannon.runtime.tracing import start_tracing
from kannon.telemetry.catalogue import STAGE_EVENTS, STAGE_ITEMS, STAGE_SECONDS, STAGE_UNDER_WAY
from kannon.telemetry.metrics import CONTENT_TYPE
from kannon.telemetry.tracing import Attributes, Kind, step, take_over

log = logging.getLogger(__name__)

ITEMS_HEADER = "kannon-items"
"""`<start>-<stop>`, half-open: only these items of the event are to be handled (a source splits a chunk
that fails again and again; the event itself is signed and stays whole)."""
MAX_BODY = 2_000_000
_UNREADABLE = (
    cloud_exceptions.GenericException,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)
_DONE = 204
_RESULTS = {_DONE: "done", 400: "refused", 503: "not_now", 500: "failed"}
START_PATIENCE = 60.0
"""Seconds for which a starting stage waits for PostgreSQL or NATS before it gives up."""


class Handler(Protocol):
    """What a stage does."""

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Do what the event asks for; doing it twice must be harmless."""


class TickHandler(Protocol):
    """What a stage does when the timer ticks."""

    async def tick(self) -> None:
        """Look for forgotten work."""


class Wired:
    """A stage's handler with all that it needs.

    Args:
        accepts: the kinds of events it takes.
        on_tick: for a stage that the timer wakes.
    """

    def __init__(
        self,
        handler: Handler,
        sealer: Sealer,
        accepts: Sequence[type[AnyPayload]],
        on_tick: TickHandler | None = None,
    ) -> None:
        self.handler = handler
        self.sealer = sealer
        self.accepts = tuple(accepts)
        self.on_tick = on_tick


Build = Callable[[Settings, AsyncExitStack], Awaitable[Wired]]


class Stage:
    """A function of the system. It opens what it needs when served, not when imported.

    Args:
        name: of the stage, as logs and settings know it.
        build: opens connections on the given stack and wires the handler.
    """

    instances: list["Stage"] = []  # noqa: RUF012 - those that the server is to open: one a process

    def __init__(self, name: str, build: Build) -> None:
        self.name = name
        self._build = build
        self._wired: Wired | None = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        Stage.instances.append(self)

    async def open(self) -> Wired:
        """Open it, once."""
        async with self._opening:
            if self._wired is None:
                settings = Settings.load()
                start_logging(self.name, settings[DEBUG])
                arm_failpoints(settings)
                start_tracing(self.name, settings)
                self._wired = await self._build(settings, self._stack)
                log.info("ready")
            return self._wired

    async def close(self) -> None:
        """Close what `open` opened."""
        self._wired = None
        await self._stack.aclose()

    async def answer(self, request: Request) -> Response:
        """The HTTP function."""
        if request.method in ("GET", "HEAD"):
            if request.url.path == PATH:
                return Response(await metrics(), media_type=CONTENT_TYPE)
            return JSONResponse({"stage": self.name, "ready": self._wired is not None})
        work = _Work()
        began = time.perf_counter()
        STAGE_UNDER_WAY.set(STAGE_UNDER_WAY.value(self.name) + 1, self.name)
        try:
            response = await self._answer(request, work)
        finally:
            STAGE_UNDER_WAY.set(STAGE_UNDER_WAY.value(self.name) - 1, self.name)
        STAGE_SECONDS.observe(time.perf_counter() - began, self.name, work.event)
        STAGE_EVENTS.add(1, self.name, work.event, _RESULTS[response.status_code])
        if response.status_code == _DONE and work.items:
            STAGE_ITEMS.add(work.items, self.name, work.event)
        return response

    async def _answer(self, request: Request, work: "_Work") -> Response:
        try:
            wired = self._wired or await self.open()
            await self._dispatch(wired, request, work)
        except BadInput as error:
            log.warning("event refused", extra={"reason": str(error)})
            return JSONResponse({"error": str(error)}, status_code=400)
        except Unavailable as error:
            log.info("not now", extra={"reason": str(error)})
            retry_after = {"Retry-After": str(max(1, round(error.retry_after)))}
            return JSONResponse({"error": "not now"}, status_code=503, headers=retry_after)
        except SinkRefuses as error:
            log.warning("event refused by its sink", extra={"reason": str(error)})
            return JSONResponse({"error": str(error)}, status_code=500)
        except Exception:
            log.exception("event failed")
            return JSONResponse({"error": "internal error"}, status_code=500)
        return Response(status_code=_DONE)

    async def _dispatch(self, wired: Wired, request: Request, work: "_Work") -> None:
        body = await _body(request)
        event = parse_event(request.headers, body)
        if wired.on_tick is not None and event.type == TICK_TYPE:
            work.event = "tick"
            await wired.on_tick.tick()
            return
        payload = _chosen(wired.sealer.open(event, wired.accepts), request.headers.get(ITEMS_HEADER))
        work.event, work.items = name_of(payload), len(items_of(payload))
        attributes: Attributes = {
            "messaging.system": "nats",
            "messaging.message.id": event.id,
            "messaging.batch.message_count": work.items,
        }
        given, is_root = take_over(event.traceparent)
        name = f"{self.name} {work.event}"
        with step(name, given, Kind.CONSUMER, attributes, is_root=is_root) as span:
            log.debug("event taken", extra={"event": work.event, "id": event.id, "items": work.items})
            await wired.handler.handle(payload, span.traceparent)


class _Work:
    """What a request is about, as far as that is known."""

    __slots__ = ("event", "items")

    def __init__(self) -> None:
        self.event = "unknown"
        self.items = 0


async def _body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise MalformedEvent(f"content-length: at most {MAX_BODY} octets")
    body = await request.body()
    if len(body) > MAX_BODY:
        raise MalformedEvent(f"data: at most {MAX_BODY} octets")
    return body


def parse_event(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """The CloudEvent in a request, binary or structured.

    Raises:
        MalformedEvent: it holds none.
    """
    try:
        parsed: ParsedEvent = from_http(headers, body, data_unmarshaller=_as_they_are)
    except _UNREADABLE as error:
        raise MalformedEvent(f"no CloudEvent 1.0: {type(error).__name__}") from None
    attributes = {name: str(value) for name, value in parsed.get_attributes().items()}
    if not headers.get("content-type", "").startswith("application/cloudevents"):
        # CloudEvents 1.0, HTTP binding §3.1.3.2: header values are percent-encoded.
        attributes = {name: unquote(value) for name, value in attributes.items()}
    if attributes.get("specversion") != "1.0":
        raise MalformedEvent("specversion: 1.0 is needed")
    if "datacontenttype" not in attributes and "content-type" in headers:
        attributes["datacontenttype"] = headers["content-type"]
    data = parsed.get_data()
    return CloudEvent.of(attributes, data if isinstance(data, bytes) else _encoded(data))


def _as_they_are(content: bytes) -> bytes:
    return content


def _encoded(data: object) -> bytes:
    if data is None:
        return b""
    if isinstance(data, str):
        # The SDK wrote a JSON value anew, with blanks; ours were signed without.
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.encode(msgspec.json.decode(data))
        return data.encode()
    raise MalformedEvent("data: octets or a JSON value are needed")


def _chosen(payload: AnyPayload, wanted: str | None) -> AnyPayload:
    if wanted is None:
        return payload
    match = re.fullmatch(r"(\d{1,6})-(\d{1,6})", wanted)
    if not match or not items_of(payload):
        raise MalformedEvent(f"{ITEMS_HEADER}: <start>-<stop> of an event with items is needed")
    return part_of(payload, int(match[1]), int(match[2]))
