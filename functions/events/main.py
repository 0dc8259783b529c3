"""Wires events: chunks of Outcomes in, CloudEvents out."""

import os
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from functions.events.handler import Events
from kannon.core.keys import Purpose
from kannon.core.payloads import Outcomes
from kannon.events import Sealer
from kannon.runtime.binding import Binding
from kannon.runtime.keys import key_for
from kannon.runtime.settings import (
    EVENTS_CONCURRENCY,
    EVENTS_SINK,
    EVENTS_TIMEOUT,
    Settings,
    SettingsError,
)
from kannon.runtime.sink import Sink
from kannon.runtime.stage import Stage, Wired


def sink_url(settings: Settings, binding: Binding) -> str:
    """Where events go.

    Raises:
        SettingsError: nowhere, or what is no URL.
    """
    url = binding.sink or settings.get(EVENTS_SINK) or ""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise SettingsError(
            f"{EVENTS_SINK.key} ({EVENTS_SINK.variable}), or the K_SINK of a SinkBinding, is required: "
            "an http or https URL"
        )
    return url


async def _build(settings: Settings, stack: AsyncExitStack) -> Wired:
    sealer = Sealer(key_for(settings, Purpose.EVENTS), "/kannon/events")
    binding = Binding.read(os.environ)
    url = sink_url(settings, binding)
    seconds = settings[EVENTS_TIMEOUT].total_seconds()
    sink = Sink(url, binding, name="events", timeout=seconds, connect_timeout=seconds)
    events = Events(await stack.enter_async_context(sink), settings[EVENTS_CONCURRENCY])
    return Wired(events, sealer, (Outcomes,))


stage = Stage("events", _build)


async def events(request: Request) -> Response:
    """The function: takes `outcomes.*`."""
    return await stage.answer(request)
