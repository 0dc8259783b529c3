"""The measures that are taken of a running system."""

import asyncio
import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.application import SAMPLE_DOMAIN, Tenant, links_of, recipients
from bench.processes import Usage, usages
from bench.sample import demand, tracked_in
from bench.sink import KeepingSink, Sink
from kannon.cli.standalone.listening import answers_http, free_port

SETTLE = 0.1
"""Seconds that are left to a single mail for its statistics."""
PATIENCE = 60.0
"""Seconds without progress after which a measure is given up."""


class NoProgress(Exception):
    """A measure did not come to its end."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """One large Batch.

    Attributes:
        seconds: from the call to the last mail's final 250.
        settled_seconds: from the call to the last result in the statistics.
        call_seconds: until the call was answered.
        cpu_us: microseconds of processor time a mail, by process, until all was settled.
        tracked_links: in each mail, beside the pixel.
    """

    mails: int
    seconds: float
    settled_seconds: float
    call_seconds: float
    cpu_us: Mapping[str, float]
    usages: Mapping[str, Usage]
    tracked_links: int

    @property
    def rate(self) -> float:
        """Mails a second."""
        return self.mails / self.seconds


async def throughput(
    tenant: Tenant,
    sink: Sink,
    samples: KeepingSink,
    pids: Mapping[str, int],
    mails: int,
    *,
    is_tracked: bool = True,
) -> Throughput:
    """Send one Batch, and wait until every mail is at the sink and every result in the statistics.

    One mail more goes to another sink, and is looked at.

    Raises:
        NotTracked: its links are not tracked as they should be, or are and should not.
    """
    listed = recipients(mails) + recipients(1, first=mails, domain=SAMPLE_DOMAIN)
    arrived_before, ended_before = sink.count, await tenant.ended()
    before, begin = usages(pids), time.monotonic()
    answer = await tenant.send(listed, is_tracked=is_tracked)
    call_seconds = time.monotonic() - begin
    assert answer.accepted_count == len(listed), f"{answer.accepted_count} of {len(listed)} accepted"
    await _until_arrived(sink, arrived_before + mails)
    arrived_at = sink.last_at
    await _until_ended(tenant, ended_before + len(listed))
    settled_at, after = time.monotonic(), usages(pids)
    cpu_us = {name: (after[name].cpu - before[name].cpu) / mails * 1e6 for name in pids}
    tracked = tracked_in(samples.mails[-1])
    demand(tracked, links_of(mails) if is_tracked else ())
    return Throughput(
        mails, arrived_at - begin, settled_at - begin, call_seconds, cpu_us, after, len(tracked.urls)
    )


async def latencies_ms(tenant: Tenant, sink: Sink, times: int) -> list[float]:
    """From the call for one mail to the sink's final 250, in milliseconds.

    One mail at a time, and none before the statistics of the one before are written.
    """
    found = []
    for number in range(times):
        arrived = sink.count
        begin = time.monotonic()
        await tenant.send(recipients(1, first=number))
        await _until_arrived(sink, arrived + 1, poll=0.0005)
        found.append((sink.last_at - begin) * 1000)
        await asyncio.sleep(SETTLE)
    return found


async def start_seconds(pid: int, times: int = 3) -> float:
    """From the start of another process like the function `pid` until it is ready; the median."""
    return statistics.median([await _started(pid) for _ in range(times)])


async def _started(pid: int) -> float:
    process = Path(f"/proc/{pid}")
    argv = process.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
    environment = dict(
        entry.split(b"=", 1) for entry in process.joinpath("environ").read_bytes().split(b"\0") if entry
    )
    port = free_port()
    environment[b"PORT"] = str(port).encode()
    begin = time.monotonic()
    child = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not await answers_http(port, "/"):
            if time.monotonic() - begin > PATIENCE or child.poll() is not None:
                raise NoProgress(f"{os.fsdecode(argv[-1])} did not start")
            await asyncio.sleep(0.005)
        return time.monotonic() - begin
    finally:
        child.terminate()
        await asyncio.to_thread(child.wait)


async def _until_arrived(sink: Sink, count: int, poll: float = 0.01) -> None:
    seen, since = sink.count, time.monotonic()
    while sink.count < count:
        await asyncio.sleep(poll)
        if sink.count > seen:
            seen, since = sink.count, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            raise NoProgress(f"{count - seen} of {count} mails did not arrive")


async def _until_ended(tenant: Tenant, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (ended := await tenant.ended()) < count:
        if time.monotonic() > deadline:
            raise NoProgress(f"{count - ended} of {count} mails have no result")
        await asyncio.sleep(0.02)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
