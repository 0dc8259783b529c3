"""Wires the source: routes by setting, or the one that a SinkBinding gives."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

import uvloop

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.consumer import PullConsumer
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.streams import ACK_WAIT, FED, ensure_streams
from kannon.core.errors import KannonError
from kannon.runtime.binding import Binding
from kannon.runtime.collector import collect_rarely
from kannon.runtime.logs import start_logging
from kannon.runtime.metrics import serve_metrics
from kannon.runtime.settings import (
    DEBUG,
    METRICS_HOST,
    METRICS_PORT,
    NATS_URL,
    SOURCE_CONCURRENCY,
    SOURCE_CONNECT_TIMEOUT,
    SOURCE_HEALTH_HOST,
    SOURCE_HEALTH_PORT,
    SOURCE_ROUTE,
    SOURCE_ROUTES,
    SOURCE_TIMEOUT,
    STREAM_REPLICAS,
    Settings,
    SettingsError,
)
from kannon.runtime.sink import Sink
from kannon.runtime.tracing import start_tracing
from kannon.telemetry.catalogue import SOURCE_BOUND, SOURCE_IN_HAND
from nats_source.delivery import Pace
from nats_source.health import serve_health
from nats_source.source import Route

_log = logging.getLogger(__name__)

_NATS_PATIENCE: Final = 60.0


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    try:
        settings = Settings.load()
        binding = Binding.read(os.environ)
        routes = routes_of(settings, binding)
        start_logging("nats-source", settings[DEBUG])
        start_tracing("nats-source", settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, binding, routes))
    except KannonError as error:
        sys.exit(f"error: {error}")


def routes_of(settings: Settings, binding: Binding) -> Mapping[str, str]:
    """Where the events of which stage go.

    Raises:
        SettingsError: nowhere, an unknown stage, or what is no URL.
    """
    given = settings[SOURCE_ROUTES]
    routes = dict(given)
    if binding.sink and not routes:
        stage = settings[SOURCE_ROUTE]
        if not stage:
            raise SettingsError("source.route (K_SOURCE_ROUTE) is required: the stage that K_SINK is for")
        routes[stage] = binding.sink
    if not routes:
        raise SettingsError("source.routes (K_SOURCE_ROUTES) is required where no SinkBinding gives K_SINK")
    for stage, url in routes.items():
        if stage not in FED:
            raise SettingsError(
                f"source.routes (K_SOURCE_ROUTES): no stage {stage!r}; there are {', '.join(FED)}"
            )
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise SettingsError(
                f"source.routes (K_SOURCE_ROUTES, K_SINK): {stage} needs an http or https URL"
            )
    return routes


async def serve(settings: Settings, binding: Binding, routes: Mapping[str, str]) -> None:
    """Carry events over `routes` until SIGTERM or SIGINT.

    Raises:
        EventsUnavailable: NATS was not there at the start.
        SettingsError: the binding's certificates cannot be read.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    replicas = settings[STREAM_REPLICAS]
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            await connect(settings[NATS_URL], "nats-source", give_up_after=_NATS_PATIENCE)
        )
        await ensure_streams(connection.js, replicas)
        dead_letters = DeadLetters(connection, replicas)
        running: dict[str, Route] = {}
        for stage, url in routes.items():
            sink = Sink(
                url,
                binding,
                name="nats-source",
                timeout=settings[SOURCE_TIMEOUT].total_seconds(),
                connect_timeout=settings[SOURCE_CONNECT_TIMEOUT].total_seconds(),
            )
            running[stage] = Route(
                PullConsumer(connection, FED[stage], replicas=replicas),
                await stack.enter_async_context(sink),
                dead_letters,
                concurrency=settings[SOURCE_CONCURRENCY],
                pace=Pace(),
                keep_every=ACK_WAIT / 3,
            )
        await stack.enter_async_context(
            serve_health(settings[SOURCE_HEALTH_HOST], settings[SOURCE_HEALTH_PORT], running)
        )
        await stack.enter_async_context(
            serve_metrics(settings[METRICS_HOST], settings[METRICS_PORT], lambda: _look(running))
        )
        collect_rarely()
        _log.info("ready", extra={"routes": sorted(running)})
        async with asyncio.TaskGroup() as group:
            for route in running.values():
                group.create_task(route.run(stopping))
    _log.info("stopped")


async def _look(routes: Mapping[str, Route]) -> None:
    for stage, route in routes.items():
        SOURCE_BOUND.set(route.is_bound, stage)
        SOURCE_IN_HAND.set(route.in_hand, stage)
