"""`make scale`: two of everything; functions that are killed, and functions that sleep."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from faults.interrupting import INTERRUPTED, until_done_or_stopped
from faults.program import quiet_folder
from scale.report import as_json, show
from scale.system import running
from scale.trial import Asked, Trial


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--mails", default=20_000, show_default=True, type=click.IntRange(100), help="Deliveries.")
@click.option(
    "--every", default=5.0, show_default=True, type=click.FloatRange(0.5), help="Seconds between two rounds."
)
@click.option("--rounds", default=0, type=click.IntRange(0), help="Of kills.  [default: while mail is owed]")
@click.option("--seed", default=1, show_default=True, help="Which instance is killed, and in which order.")
@click.option("--data-folder", type=click.Path(path_type=Path), help="Kept, logs included; else removed.")
def scale(mails: int, every: float, rounds: int, seed: int, data_folder: Path | None) -> None:
    """Run two of everything on this machine, and kill an instance of each function in every round while mail
    is under way; then let all functions stop for want of work, and send one mail more.

    At the end nothing is lost and nothing doubled, or the exit code is 1. The last line is JSON.
    """
    began = time.monotonic()
    with quiet_folder("scale", data_folder) as folder:
        told = asyncio.run(_run(folder, Asked(mails, every, rounds, seed)))
    if told is None:
        click.echo(json.dumps({"interrupted": True}))
        sys.exit(INTERRUPTED)
    click.echo(json.dumps(told | {"seconds": round(time.monotonic() - began, 1)}))
    sys.exit(not told["holds"])


async def _run(folder: Path, asked: Asked) -> dict[str, Any] | None:
    """What the last line says; None where it was interrupted."""
    _say("starting two gateways, two edges, two sources")
    told = None
    async with running(folder) as system:
        trial = Trial(system, asked, _say)
        if await until_done_or_stopped(trial.run(), system.supervisor):
            show(trial, system.fronts)
            told = as_json(trial, system.fronts)
        else:
            _say("interrupted; stopping the system")
    return told


def _say(what: str) -> None:
    click.echo(f"… {what}", err=True)
