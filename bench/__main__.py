"""`make bench`: starts a whole system on this machine, measures it, prints a table and a line of JSON."""

import asyncio
import json
import logging
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.application import SAMPLE_DOMAIN, Tenant
from bench.limits import sink_limit
from bench.machine import fsync_ms, rsa2048_rates
from bench.measures import (
    NoProgress,
    Throughput,
    latencies_ms,
    percentile,
    start_seconds,
    throughput,
)
from bench.sample import NotTracked
from bench.sink import KeepingSink, Sink, a_sink
from bench.tracking import Tracking, tracking
from kannon.cli.client import gateway
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.system import running
from kannon.core.errors import KannonError
from kannon.runtime.logs import start_logging
from kannon.runtime.settings import API_ADMIN_TOKEN, Settings

FUNCTIONS = ("verify", "dispatch", "send", "bounce", "stats", "webhooks", "track")
SETTINGS = {"sender.max_jobs": "50", "sender.max_per_exchanger": "50"}
"""Other than the defaults: as many connections as peers are measured with."""
WARM_UP = 500


@dataclass(frozen=True, slots=True)
class Measured:
    """All measures of a run."""

    fsync_ms: float
    rsa_rate: float
    sink: str
    sink_rate: float
    batch: Throughput
    untracked: Throughput
    singles_ms: list[float]
    start_s: Mapping[str, float]
    tracking: Tracking

    def as_json(self) -> dict[str, Any]:
        """What the last line says."""
        return {
            "mails_per_s": round(self.batch.rate, 1),
            "rsa2048_per_s_one_core": round(self.rsa_rate, 1),
            "ratio": round(self.batch.rate / self.rsa_rate, 3),
            "untracked_mails_per_s": round(self.untracked.rate, 1),
            "untracked_ratio": round(self.untracked.rate / self.rsa_rate, 3),
            "single_p50_ms": round(statistics.median(self.singles_ms), 1),
            "single_p99_ms": round(percentile(self.singles_ms, 0.99), 1),
            "fsync_ms": round(self.fsync_ms, 2),
            "rss_mb": {name: round(usage.peak_rss_mb, 1) for name, usage in self.batch.usages.items()},
            "start_s": {name: round(seconds, 2) for name, seconds in self.start_s.items()},
            "cpu_us_per_mail": {name: round(cost, 1) for name, cost in self.batch.cpu_us.items()},
            "mails": self.batch.mails,
            "settled_s": round(self.batch.settled_seconds, 2),
            "call_s": round(self.batch.call_seconds, 2),
            "sink": self.sink,
            "sink_limit_per_s": round(self.sink_rate),
            "tracked_links": self.batch.tracked_links,
            "track_requests_per_s": round(self.tracking.rate),
            "track_cpu_us": round(self.tracking.cpu_us),
            "track_p50_ms": round(self.tracking.p50_ms, 2),
            "track_p99_ms": round(self.tracking.p99_ms, 2),
            "track_rss_mb": round(self.tracking.rss_mb, 1),
        }


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--mails", default=10_000, show_default=True, type=click.IntRange(100), help="Of the Batch.")
@click.option("--singles", default=300, show_default=True, type=click.IntRange(10), help="Mails sent alone.")
@click.option(
    "--runs", default=1, show_default=True, type=click.IntRange(1), help="Batches; the median counts."
)
@click.option("--data-folder", type=click.Path(path_type=Path), help="Kept; else one that is removed.")
@click.option("--set", "changed", multiple=True, metavar="KEY=VALUE", help="A setting; repeatable.")
def bench(mails: int, singles: int, runs: int, data_folder: Path | None, changed: tuple[str, ...]) -> None:
    """Measure a whole system on this machine; the last line is JSON."""
    start_logging("bench", stream=sys.stderr)
    logging.getLogger().setLevel(logging.WARNING)
    flags = SETTINGS | dict(one.partition("=")[::2] for one in changed)
    folder = (
        data_folder.resolve() if data_folder else Path(tempfile.mkdtemp(prefix=".bench-", dir=Path.cwd()))
    )
    try:
        measured = asyncio.run(_measure(folder, mails, singles, runs, flags))
    finally:
        if data_folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    _show(measured, flags)
    click.echo(json.dumps(measured.as_json()))


async def _measure(folder: Path, mails: int, singles: int, runs: int, flags: Mapping[str, str]) -> Measured:
    with a_sink() as sink:
        _say("machine: RSA-2048, fsync, and what the sink can take")
        folder.mkdir(parents=True, exist_ok=True)
        disk, sink_rate = fsync_ms(folder), await sink_limit(sink)
        rsa = rsa2048_rates(4)
        async with KeepingSink() as samples, running(_settings(folder, sink, samples, flags)) as system:
            pids = {**system.supervisor.pids, "sink": sink.pid}
            async with gateway(system.api) as channel:
                tenant = await Tenant.create(channel, system.settings[API_ADMIN_TOKEN])
                _say(f"warming up with {WARM_UP} mails")
                await throughput(tenant, sink, samples, pids, WARM_UP)
                batches = []
                for _ in range(runs):
                    _say(f"one Batch of {mails}")
                    batches.append(await throughput(tenant, sink, samples, pids, mails))
                _say("and one without links that are tracked")
                plain = await throughput(tenant, sink, samples, pids, mails, is_tracked=False)
                rsa += await asyncio.to_thread(rsa2048_rates, 4)
                _say(f"{singles} mails, one at a time")
                alone = await latencies_ms(tenant, sink, singles)
            _say("readers, as fast as they are answered")
            read = await tracking(system, tenant.domain)
            _say("starts of functions")
            starts = {name: await start_seconds(system.supervisor.pids[name]) for name in FUNCTIONS}
    middle = sorted(batches, key=lambda batch: batch.rate)[len(batches) // 2]
    return Measured(disk, statistics.median(rsa), sink.name, sink_rate, middle, plain, alone, starts, read)


def _settings(folder: Path, sink: Sink, samples: KeepingSink, flags: Mapping[str, str]) -> Settings:
    own = {
        "data_folder": str(folder),
        "api.port": str(free_port()),
        "sender.hostname": "mail.bench.example",
        "sender.routes": f"*=127.0.0.1:{sink.port},{SAMPLE_DOMAIN}=127.0.0.1:{samples.port}",
        "sender.allow_networks": "127.0.0.0/8",
    }
    return Settings.load(own | dict(flags), environment={"K_CONFIG": "/dev/null"})


def _show(measured: Measured, flags: Mapping[str, str]) -> None:
    console, batch = Console(width=None if sys.stdout.isatty() else 120), measured.batch
    ratio = batch.rate / measured.rsa_rate
    p50, allowed = statistics.median(measured.singles_ms), 20 + 6 * measured.fsync_ms
    table = Table("measure", "value", "aim", box=None, pad_edge=False)
    table.add_row("mails a second", f"{batch.rate:.0f}", "")
    table.add_row("RSA-2048 signatures a second, one core", f"{measured.rsa_rate:.0f}", "")
    table.add_row("ratio of the two", f"{ratio:.2f}", "≥ 0.40")
    table.add_row(
        "the same, without tracked links", f"{measured.untracked.rate / measured.rsa_rate:.2f}", "≥ 0.40"
    )
    table.add_row(f"{measured.sink} takes at least, a second", f"{measured.sink_rate:.0f}", "")
    table.add_row("one mail, call to the sink's 250, p50", f"{p50:.1f} ms", f"≤ {allowed:.1f} ms")
    table.add_row("the same, p99", f"{percentile(measured.singles_ms, 0.99):.1f} ms", f"≤ {4 * p50:.1f} ms")
    table.add_row("opens and clicks a second, one process", f"{measured.tracking.rate:.0f}", "≥ 3000")
    table.add_row("fsync on this disk", f"{measured.fsync_ms:.2f} ms", "")
    console.print(f"\none Batch of {batch.mails}, {', '.join(f'{k}={v}' for k, v in flags.items())}")
    console.print(table)
    console.print(
        f"Each mail carries {batch.tracked_links} tracked links and a pixel, for its reader alone.\n"
    )
    parts = Table("process", "µs of CPU a mail", "RSS MB", "peak", "start s", box=None, pad_edge=False)
    for name, cost in sorted(batch.cpu_us.items(), key=lambda item: -item[1]):
        usage = batch.usages[name]
        start = f"{measured.start_s[name]:.2f}" if name in measured.start_s else ""
        parts.add_row(name, f"{cost:.0f}", f"{usage.rss_mb:.0f}", f"{usage.peak_rss_mb:.0f}", start)
    parts.add_row("all", f"{sum(batch.cpu_us.values()):.0f}", "", "", "")
    console.print(parts)


def _say(what: str) -> None:
    click.echo(f"… {what}", err=True)


def main() -> None:
    """Run it; failures are one line."""
    try:
        bench()
    except (KannonError, NoProgress, NotTracked) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
