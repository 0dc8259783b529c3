"""What became of it: for people, and for programs."""

import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from scale.front import Front
from scale.trial import Load, Trial


def show(trial: Trial, fronts: Mapping[str, Front]) -> None:
    """Tables on standard output."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    functions = Table(
        *("function", "answered by each", "starts", "killed", "502", "turned", "held", "last start s"),
        box=None,
        pad_edge=False,
    )
    for name, front in fronts.items():
        traffic = front.traffic
        functions.add_row(
            name,
            " + ".join(str(traffic.answered[one.name]) for one in front.instances),
            str(sum(one.starts for one in front.instances)),
            str(sum(one.kills for one in front.instances)),
            str(traffic.broken),
            str(traffic.turned),
            str(traffic.held),
            f"{max(one.start_seconds for one in front.instances):.2f}",
        )
    console.print(functions)
    parts = Table("part that runs long", "CPU s", "peak MB", box=None, pad_edge=False)
    for name, usage in trial.parts.items():
        parts.add_row(name, f"{usage.cpu:.1f}", f"{usage.peak_rss_mb:.0f}")
    console.print()
    console.print(parts)
    measures = Table("measure", "value", box=None, pad_edge=False)
    if trial.load is not None:
        for measure, value in _load(trial.load).items():
            measures.add_row(measure.replace("_", " "), _shown(value))
    for single in trial.singles:
        measures.add_row(
            f"one mail, functions {single.when}",
            f"{single.ms:.0f} ms, {sum(single.evidence.copies.values())} copy; started {len(single.cold)}",
        )
    console.print()
    console.print(measures)
    for broken in trial.broken:
        console.print(f"BROKEN {broken}")


def as_json(trial: Trial, fronts: Mapping[str, Front]) -> dict[str, Any]:
    """What the last line says."""
    return {
        "holds": not trial.broken,
        "violations": trial.broken,
        "load": _load(trial.load) if trial.load is not None else None,
        "singles": [
            {
                "functions": one.when,
                "ms": round(one.ms, 1),
                "started": list(one.cold),
                "copies": sum(one.evidence.copies.values()),
            }
            for one in trial.singles
        ],
        "parts": {
            name: {"cpu_s": round(usage.cpu, 1), "peak_mb": round(usage.peak_rss_mb)}
            for name, usage in trial.parts.items()
        },
        "functions": {
            name: {
                "answered": [front.traffic.answered[one.name] for one in front.instances],
                "starts": sum(one.starts for one in front.instances),
                "killed": sum(one.kills for one in front.instances),
                "broken": front.traffic.broken,
                "turned": front.traffic.turned,
                "held": front.traffic.held,
            }
            for name, front in fronts.items()
        },
    }


def _load(load: Load) -> dict[str, Any]:
    counted: Counter[str] = Counter()
    for found in load.evidence:
        counted.update(found.counted)
    settled = [found.settled_seconds for found in load.evidence]
    return {
        "mails": load.mails,
        "accepted": sum(found.accepted for found in load.evidence),
        "outcomes": {kind: count for kind, count in sorted(counted.items()) if count},
        "copies": sum(sum(found.copies.values()) for found in load.evidence),
        "extra": sum(found.extra for found in load.evidence),
        "ambiguous": sum(found.ambiguous for found in load.evidence),
        "missing": sum(found.missing for found in load.evidence),
        "dead_letters": load.dead_letters,
        "kills": load.kills,
        "kills_while_mail_was_owed": load.during,
        "seconds": round(load.seconds, 1),
        "settled_seconds": None if None in settled else round(max(filter(None, settled), default=0.0), 1),
    }


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{kind} {count}" for kind, count in value.items())
    return str(value)
