"""What became of the cases: for people, for documents, for programs."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from faults.trial import Verdict

_HEADINGS: Final = ("case", "seed", "what was done", "expected", "result", "counts", "settled")


def result(verdict: Verdict) -> str:
    """One or two words."""
    if verdict.not_provoked:
        return "not provoked"
    return "holds" if verdict.is_good else "BROKEN"


def verdict_line(verdict: Verdict) -> str:
    """One line, while it runs."""
    said = [result(verdict), f"{verdict.seconds:.1f} s"]
    if verdict.evidence is not None:
        said.insert(1, _counts(verdict))
    if verdict.not_provoked:
        said.append(verdict.not_provoked)
    return "; ".join([*said, *verdict.broken, *verdict.notes])


def _counts(verdict: Verdict) -> str:
    found = verdict.evidence
    if found is None:
        return ""
    outcomes = ", ".join(f"{kind} {count}" for kind, count in sorted(found.counted.items()) if count)
    copies = sum(found.copies.values())
    doubt = f"ambiguous {found.ambiguous}, extra {found.extra}, missing {found.missing}"
    return f"{found.accepted} taken: {outcomes}; copies {copies}, {doubt}"


def _row(verdict: Verdict) -> tuple[str, ...]:
    found = verdict.evidence
    settled = f"{found.settled_seconds:.1f} s" if found and found.settled_seconds is not None else ""
    why = verdict.not_provoked or "; ".join(verdict.broken)
    shown = f"{result(verdict)}: {why}" if why else result(verdict)
    case = verdict.case
    return (case.label, str(verdict.seed), case.done, case.expected, shown, _counts(verdict), settled)


def show(verdicts: Sequence[Verdict]) -> None:
    """A table on standard output."""
    table = Table(*_HEADINGS, box=None, pad_edge=False)
    for verdict in verdicts:
        table.add_row(*_row(verdict))
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """The table in Markdown."""
    lines = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_row, verdicts)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json(verdicts: Sequence[Verdict], seconds: float) -> dict[str, Any]:
    """What the last line says."""
    return {
        "seconds": round(seconds, 1),
        "results": dict(Counter(result(verdict) for verdict in verdicts)),
        "cases": [_case(verdict) for verdict in verdicts],
    }


def _case(verdict: Verdict) -> dict[str, Any]:
    found = verdict.evidence
    told: dict[str, Any] = {
        "case": verdict.case.label,
        "seed": verdict.seed,
        "result": result(verdict),
        "seconds": round(verdict.seconds, 1),
    }
    if found is not None:
        told |= {
            "accepted": found.accepted,
            "outcomes": {kind: count for kind, count in found.counted.items() if count},
            "copies": sum(found.copies.values()),
            "ambiguous": found.ambiguous,
            "extra": found.extra,
            "missing": found.missing,
            "settled_seconds": None if found.settled_seconds is None else round(found.settled_seconds, 1),
        }
    return told | {
        "violations": list(verdict.broken),
        "notes": list(verdict.notes),
        "not_provoked": verdict.not_provoked,
    }
