"""`make faults`: breaks a running system in every way that is listed, and tells what became of the mail."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from faults.application import Tenant
from faults.cases.registry import ALL, chosen
from faults.disks import take_own_mounts
from faults.interrupting import INTERRUPTED, until_done_or_stopped
from faults.invariants import violations
from faults.program import quiet_folder
from faults.report import as_json, as_markdown, show, verdict_line
from faults.system import System, running
from faults.trial import Case, Verdict, try_case


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    cases: Sequence[Case]
    seeds: Sequence[int]
    full: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", default="", metavar="LIST", help="Cases by number or label: 3,6,25a.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Rounds, from --seed on.")
@click.option("--seed", default=1, show_default=True, help="The first one: it says when faults hit.")
@click.option("--full", is_flag=True, help="Cut parts off for 30 s, as the design says, not for 3.")
@click.option("--markdown", is_flag=True, help="The table in Markdown.")
@click.option("--list", "listed", is_flag=True, help="Name the cases, and do nothing.")
@click.option("--data-folder", type=click.Path(path_type=Path), help="Kept, logs included; else removed.")
def faults(
    only: str, seeds: int, seed: int, full: bool, markdown: bool, listed: bool, data_folder: Path | None
) -> None:
    """Break a whole system on this machine; after each fault the invariants of the design must hold.

    The last line is JSON. The exit code is 1 where an invariant does not hold.
    """
    cases = chosen(only) if only else ALL
    if listed:
        for case in cases:
            click.echo(f"{case.label:>4}  {case.done}")
        return
    take_own_mounts()
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with quiet_folder("faults", data_folder) as folder:
        finished = asyncio.run(_run(folder, Asked(cases, range(seed, seed + seeds), full), verdicts))
    seconds = time.monotonic() - began
    click.echo(as_markdown(verdicts)) if markdown else show(verdicts)
    click.echo(json.dumps(as_json(verdicts, seconds)))
    if not finished:
        sys.exit(INTERRUPTED)
    sys.exit(any(not verdict.is_good for verdict in verdicts))


async def _run(folder: Path, asked: Asked, verdicts: list[Verdict]) -> bool:
    """Run all; returns whether it came to the end."""
    _say("starting the system")
    finished = False
    async with running(folder) as system:
        finished = await until_done_or_stopped(_try_all(system, asked, verdicts), system.supervisor)
        if not finished:
            _say("interrupted; stopping the system")
    return finished


async def _try_all(system: System, asked: Asked, verdicts: list[Verdict]) -> None:
    tenants: list[tuple[Case, int, Tenant]] = []
    for seed in asked.seeds:
        for case in asked.cases:
            _say(f"{case.label:>4}  {case.done}", end="")
            verdict, tenant = await try_case(case, system, seed, asked.full)
            verdicts.append(verdict)
            if verdict.evidence is not None and verdict.is_good:
                tenants.append((case, seed, tenant))
            _say(f": {verdict_line(verdict)}", start="")
    await _look_again(tenants, verdicts)
    for _, _, tenant in tenants:
        await tenant.close()


async def _look_again(tenants: Sequence[tuple[Case, int, Tenant]], verdicts: list[Verdict]) -> None:
    """What was right when it had settled must be right at the end: nothing came late."""
    _say("looking at all of them once more", end="\n")
    for case, seed, tenant in tenants:
        evidence = await tenant.evidence(0.0, 60.0)
        if broken := violations(evidence):
            verdicts.append(Verdict(case, seed, 0.0, evidence, [f"later: {one}" for one in broken], []))


def _say(what: str, *, start: str = "… ", end: str = "\n") -> None:
    click.echo(f"{start}{what}", err=True, nl=False)
    click.echo(end, err=True, nl=False)
