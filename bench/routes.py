"""`make bench-source`: how many events a second nats-source carries over the route of each stage."""

import asyncio
import json
import logging
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench.processes import usages
from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.publisher import store
from kannon.adapters.nats.streams import STAGES, Stream, ensure_streams
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.listening import accepts_connections, free_port
from kannon.cli.standalone.nats import EmbeddedNats

CHUNK: Final = 10_000
"""Octets of a hundred results or recipients."""
ENVELOPES: Final = 400_000
"""Octets of a chunk of Envelopes: some sixty newsletters."""
_PUBLISHED_AT_ONCE: Final = 16
_PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What was measured of a route.

    Attributes:
        octets: of an event.
        rate: events a second.
        cpu_us: microseconds of the source's processor time an event, its start included.
        rss_mb: the most memory that the source had.
    """

    octets: int
    rate: float
    cpu_us: float
    rss_mb: float


class NotCarried(Exception):
    """Not every event came through."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--events", default=2000, show_default=True, type=click.IntRange(10), help="Of each route.")
@click.option("--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Requests at once.")
def command(events: int, concurrency: int) -> None:
    """Let a source of its own carry the events of each stage to a sink that answers at once."""
    logging.disable(logging.INFO)
    try:
        told = asyncio.run(_measured(events, concurrency))
    except NotCarried as error:
        sys.exit(f"error: {error}")
    table = Table("route", "octets", "events a second", "MB a second", "µs of CPU an event", "peak RSS MB")
    for stage, one in told.items():
        megabytes = one.rate * one.octets / 1e6
        figures = (f"{one.rate:.0f}", f"{megabytes:.0f}", f"{one.cpu_us:.0f}", f"{one.rss_mb:.0f}")
        table.add_row(stage, str(one.octets), *figures)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    by_route = {
        stage: {"events_per_s": round(one.rate), "cpu_us": round(one.cpu_us), "rss_mb": round(one.rss_mb, 1)}
        for stage, one in told.items()
    }
    click.echo(json.dumps({"events": events, "concurrency": concurrency, "routes": by_route}))


async def _measured(events: int, concurrency: int) -> dict[str, Carried]:
    told = {}
    with tempfile.TemporaryDirectory(prefix="kannon-bench-") as name, DataFolder(Path(name) / "nats") as data:
        server = EmbeddedNats(data)
        await server.start()
        try:
            async with await connect(server.url, "bench", give_up_after=10) as connection:
                await ensure_streams(connection.js)
                for stage, stream in STAGES.items():
                    octets = ENVELOPES if stage == "send" else CHUNK
                    # The stream takes no more than its size: the larger the events, the fewer.
                    count = min(events, stream.max_bytes // (2 * octets))
                    await _fill(connection, stream, octets, count)
                    told[stage] = await _carried(connection, server.url, stream, octets, count, concurrency)
        finally:
            await server.stop()
    return told


async def _fill(connection: Connection, stream: Stream, octets: int, count: int) -> None:
    subject = stream.subjects[0].replace("*", "bench").replace(">", "bench")
    room, data = asyncio.Semaphore(_PUBLISHED_AT_ONCE), b"x" * octets

    async def put(number: int) -> None:
        about = {
            "ce-specversion": "1.0",
            "ce-id": f"{stream.stage}-{number}",
            "ce-source": "/kannon/bench",
            "ce-type": "email.kannon.bench.v1",
            "ce-itemcount": "100",
            "content-type": "application/json",
        }
        async with room:
            await store(connection, subject, data, about)

    await asyncio.gather(*(put(number) for number in range(count)))


async def _carried(
    connection: Connection, nats_url: str, stream: Stream, octets: int, count: int, concurrency: int
) -> Carried:
    port = free_port()
    variables = {
        "K_CONFIG": os.devnull,
        "K_NATS_URL": nats_url,
        "K_SOURCE_ROUTES": f"{stream.stage}=http://127.0.0.1:{port}/",
        "K_SOURCE_CONCURRENCY": str(concurrency),
    }
    async with _process("bench.answering", str(port)):
        while not await accepts_connections(port):
            await asyncio.sleep(0.01)
        async with _process("nats_source", **variables) as source:
            try:
                async with asyncio.timeout(_PATIENCE):
                    while (await connection.js.stream_info(stream.name)).state.messages:
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise NotCarried(f"{stream.stage}: not all was carried in {_PATIENCE:g} s") from None
            usage = usages({"source": source})["source"]
        told = await asyncio.to_thread(_told_by, port)
    if told["count"] != count:
        raise NotCarried(f"{stream.stage}: {count} events were asked for {told['count']} times")
    return Carried(octets, count / told["seconds"], usage.cpu / count * 1e6, usage.peak_rss_mb)


def _told_by(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        return dict(json.load(answer))


@asynccontextmanager
async def _process(*module: str, **variables: str) -> AsyncIterator[int]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module), env=own | variables, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    command()
