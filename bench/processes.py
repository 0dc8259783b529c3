"""What processes have used, as the kernel counts it (proc(5))."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all that it started.

    Attributes:
        cpu: seconds, user and system.
        rss_mb: resident memory now, of the largest of them.
        peak_rss_mb: the most that it ever was, of the largest of them.
    """

    cpu: float
    rss_mb: float
    peak_rss_mb: float


def usages(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Of each process by name."""
    children = _children()
    return {name: _usage(pid, children) for name, pid in pids.items()}


def _usage(pid: int, children: Mapping[int, list[int]]) -> Usage:
    cpu, rss, peak, waiting = 0.0, 0.0, 0.0, [pid]
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        try:
            cpu += _cpu(one)
            now, most = _memory(one)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile; what it used its parent has
        rss, peak = max(rss, now), max(peak, most)
    return Usage(cpu, rss, peak)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                parent = int(_fields(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.setdefault(parent, []).append(int(entry.name))
    return found


def _fields(pid: int) -> list[str]:
    # The name, in parentheses, may hold anything.
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    # utime, stime, and what children that were waited for had used: fields 14 to 17.
    return sum(map(int, _fields(pid)[11:15])) / _TICKS


def _memory(pid: int) -> tuple[float, float]:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    return tuple(int(said.get(name, "0 kB").split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
