"""The benchmark itself: that it measures, not how fast this machine is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import FUNCTIONS
from bench.limits import MAILS, sink_limit
from bench.sink import PostfixSink
from kannon.adapters.nats.streams import STAGES
from tests.conftest import Eventually

ROOT = Path(__file__).resolve().parents[2]
MEASURES = {"mails_per_s", "rsa2048_per_s_one_core", "ratio", "single_p50_ms", "single_p99_ms", "fsync_ms"}
BY_PROCESS = {"rss_mb", "start_s", "cpu_us_per_mail"}


@pytest.mark.timeout(240)
def test_a_small_benchmark_measures_everything(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "--mails",
            "200",
            "--singles",
            "10",
            "--data-folder",
            tmp_path / "data",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    table, _, last = done.stdout.rstrip().rpartition("\n")
    measured = json.loads(last)
    assert measured.keys() >= MEASURES | BY_PROCESS
    assert measured["mails"] == 200
    assert measured["ratio"] == pytest.approx(
        measured["mails_per_s"] / measured["rsa2048_per_s_one_core"], abs=0.001
    )
    assert 0 < measured["single_p50_ms"] <= measured["single_p99_ms"]
    assert measured["start_s"].keys() == set(FUNCTIONS)
    processes = {*FUNCTIONS, "api-gateway", "edge-smtp", "nats-source", "nats", "postgres", "sink"}
    assert measured["rss_mb"].keys() == measured["cpu_us_per_mail"].keys() == processes
    assert all(measured["rss_mb"].values())
    assert measured["tracked_links"] == 3
    assert "3 tracked links and a pixel" in table


@pytest.mark.skipif(not shutil.which("smtp-sink"), reason="Postfix's smtp-sink is not installed")
async def test_postfix_counts_the_mails_it_takes(eventually: Eventually) -> None:
    with PostfixSink(shutil.which("smtp-sink") or "") as sink:
        await sink_limit(sink)
        await eventually(lambda: sink.count == MAILS)


def test_a_small_benchmark_of_the_statistics_asks_everything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.statistics", "--rows", "20000", "--times", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    assert told["rows"] > 10_000
    assert told["median_ms"].keys() == told["processor_ms"].keys()
    assert "search by recipient" in told["median_ms"]


def test_a_small_benchmark_of_the_source_carries_the_events_of_every_stage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.routes", "--events", "10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    assert told["routes"].keys() == STAGES.keys()
    assert all(route["events_per_s"] for route in told["routes"].values())
