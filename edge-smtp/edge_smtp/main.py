"""The edge's process: wiring, start and end."""

import asyncio
import contextlib
import logging
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from edge_smtp.carriers import Carrier, DemoCarrier, SmtpCarrier
from edge_smtp.connections import Connections, opportunistic_tls
from edge_smtp.health import Patience
from edge_smtp.inbound import wiring
from edge_smtp.inbound.server import ReportServer
from edge_smtp.journal import KEEP_PUBLISHED_MS, Journal, JournalUnavailable
from edge_smtp.observing import BatchTraces
from edge_smtp.opening import Timeouts
from edge_smtp.results import ResultPublisher
from edge_smtp.server import EdgeServer
from edge_smtp.sqlite_journal import SqliteJournal
from edge_smtp.submission import Submission
from edge_smtp.transmitter import Limits, Transmitter
from kannon.adapters.dns.exchangers import DnsExchangerLookup
from kannon.adapters.nats.connection import Connection
from kannon.adapters.nats.publisher import NatsPublisher
from kannon.adapters.objects.opening import open_store
from kannon.core.errors import KannonError, Unavailable
from kannon.core.keys import Purpose
from kannon.core.stored_objects import StorePlace
from kannon.events import Sealer
from kannon.ports import EventPublisher
from kannon.runtime import settings as s
from kannon.runtime.attachments import store_place
from kannon.runtime.clock import now_ms, utc_now
from kannon.runtime.collector import collect_rarely
from kannon.runtime.failpoints import arm_failpoints
from kannon.runtime.keys import key_for
from kannon.runtime.logs import start_logging
from kannon.runtime.metrics import serve_metrics
from kannon.runtime.tracing import start_tracing
from kannon.telemetry import catalogue as c

GRACE_SECONDS: Final = 20.0
PRUNE_EVERY: Final = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The edge's settings, read and checked before anything is opened."""

    name: str
    host: str
    port: int
    journal: Path
    journal_octets: int
    limits: Limits
    carrier: Carrier
    envelopes_key: bytes
    sealer: Sealer
    nats_url: str
    replicas: int
    inbound: wiring.Inbound
    store: StorePlace | None
    metrics: tuple[str, int] = ("", 0)


def read_settings(settings: s.Settings) -> Wanted:
    """What the edge needs of the settings.

    Raises:
        SettingsError: one is missing or malformed.
    """
    host, port = settings[s.EDGE_ADDRESS]
    return Wanted(
        name=settings[s.EDGE_NAME],
        host=host,
        port=port,
        journal=Path(settings[s.EDGE_JOURNAL]),
        journal_octets=settings[s.EDGE_JOURNAL_SIZE],
        limits=Limits(
            settings[s.SENDER_MAX_JOBS],
            settings[s.SENDER_MAX_PER_EXCHANGER],
            settings[s.SENDER_MAX_AMBIGUOUS],
            settings[s.EDGE_CAPACITY],
            Patience(
                first=settings[s.SENDER_SUSPEND_FIRST].total_seconds(),
                longest=settings[s.SENDER_SUSPEND_MAX].total_seconds(),
            ),
        ),
        carrier=_carrier(settings),
        envelopes_key=key_for(settings, Purpose.ENVELOPES),
        sealer=Sealer(key_for(settings, Purpose.EVENTS), "/kannon/edge"),
        nats_url=settings[s.NATS_URL],
        replicas=settings[s.STREAM_REPLICAS],
        inbound=wiring.read_settings(settings),
        store=store_place(settings),
        metrics=(settings[s.METRICS_HOST], settings[s.METRICS_PORT]),
    )


def _carrier(settings: s.Settings) -> Carrier:
    hostname = settings[s.SENDER_HOSTNAME]
    if not (hostname.isascii() and hostname.isprintable() and hostname and " " not in hostname):
        setting = s.SENDER_HOSTNAME
        raise s.SettingsError(f"{setting.key} ({setting.variable}): a host name in ASCII is needed")
    if settings[s.SENDER_DEMO_SENDER]:
        return DemoCarrier()
    timeouts = Timeouts.scaled(
        settings[s.SENDER_TIMEOUT_SCALE], settings[s.SENDER_CONNECT_TIMEOUT].total_seconds()
    )
    return SmtpCarrier(
        DnsExchangerLookup(settings[s.SENDER_ROUTES], settings[s.DNS_SERVERS]),
        Connections(hostname, timeouts, opportunistic_tls()),
        settings[s.SENDER_ALLOW_NETWORKS],
    )


class Edge:
    """Everything of the edge between its journal and its server, wired.

    Args:
        publisher: may be away; results wait for it.
    """

    def __init__(self, wanted: Wanted, journal: Journal, publisher: EventPublisher) -> None:
        self._journal = journal
        traces = BatchTraces()
        self._results = ResultPublisher(journal, publisher, traces)
        self.transmitter = Transmitter(journal, wanted.carrier, wanted.limits, now_ms)
        self.server = EdgeServer(
            Submission(wanted.envelopes_key, journal, self.transmitter, wanted.name, traces)
        )
        self._running: list[asyncio.Task[None]] = []

    async def start(self, host: str, port: int) -> int:
        """Go on with what the journal holds, and take more; returns the port.

        Raises:
            KannonError: the address or the journal cannot be used.
        """
        left = await self.transmitter.resume()
        self._running = [
            asyncio.create_task(self._results.run()),
            asyncio.create_task(_prune_for_ever(self._journal)),
        ]
        port = await self.server.start(host, port)
        collect_rarely()
        log.info("ready", extra={"host": host, "port": port, "journal": self._journal.id, "in_hand": left})
        return port

    async def look(self) -> None:
        """Set the gauges to what they are now; raises JournalUnavailable."""
        transmitter = self.transmitter
        c.CAPACITY.set(transmitter.capacity)
        c.TRANSMITTING.set(transmitter.transmitting)
        c.SUSPENDED.set(len(transmitter.suspended()))
        c.AMBIGUOUS.set(len(transmitter.ambiguous()))
        counts = await self._journal.counts()
        c.HELD.set(counts.held)
        c.UNPUBLISHED.set(counts.unpublished)

    async def stop(self, grace: float) -> None:
        """Take nothing more, and finish what is under way; the journal has the rest.

        Args:
            grace: seconds in which this is done.
        """
        deadline = asyncio.get_running_loop().time() + grace
        await self.server.stop(grace * 0.1)
        await self.transmitter.stop(grace * 0.75)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout_at(deadline):
                await self._results.drain()


async def serve(wanted: Wanted, stop: asyncio.Event) -> None:
    """Run the edge until `stop` is set; then finish what is under way.

    NATS may be away: mail goes out all the same, and its results wait in the journal.

    Raises:
        KannonError: it cannot start.
    """
    async with AsyncExitStack() as stack:
        journal = await SqliteJournal.open(
            wanted.journal, wanted.limits.capacity, now_ms(), wanted.journal_octets
        )
        stack.push_async_callback(journal.close)
        nats = Connection(wanted.nats_url, wanted.name)
        stack.push_async_callback(nats.close)
        connecting = asyncio.create_task(nats.open(None))
        stack.callback(connecting.cancel)
        publisher = NatsPublisher(nats, wanted.sealer, utc_now, wanted.replicas)
        edge = Edge(wanted, journal, publisher)
        reports = wanted.inbound.server(publisher, utc_now, open_store(wanted.store))
        stack.push_async_callback(_stop, edge, reports)
        await reports.start(wanted.inbound.host, wanted.inbound.port)
        await edge.start(wanted.host, wanted.port)
        await stack.enter_async_context(serve_metrics(*wanted.metrics, edge.look))
        await _until(stop, connecting)
        log.info("stopping")
    log.info("stopped")


async def _stop(edge: Edge, reports: ReportServer) -> None:
    await asyncio.gather(edge.stop(GRACE_SECONDS), reports.stop(GRACE_SECONDS * 0.75))


async def _until(stop: asyncio.Event, connecting: asyncio.Task[None]) -> None:
    """Wait for `stop`; ends with the error of `connecting` if that can never connect."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, connecting], return_when=asyncio.FIRST_COMPLETED)
    if connecting.done():
        connecting.result()
    await stopping


async def _prune_for_ever(journal: Journal) -> None:
    while True:
        try:
            pruned = await journal.prune(now_ms() - KEEP_PUBLISHED_MS)
        except JournalUnavailable as error:
            log.warning("journal not pruned", extra={"reason": str(error)})
        else:
            if pruned:
                log.info("journal pruned", extra={"attempts": pruned})
        await asyncio.sleep(PRUNE_EVERY)


async def _run(wanted: Wanted) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(wanted, stop)


def main() -> int:
    """Run the edge as this process; returns its exit code."""
    try:
        settings = s.Settings.load()
        start_logging("edge", settings[s.DEBUG])
        arm_failpoints(settings)
        start_tracing("edge", settings)
        uvloop.run(_run(read_settings(settings)))
    except KannonError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0
