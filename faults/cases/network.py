"""Each two parts that talk are cut off from each other."""

import asyncio
from collections.abc import Sequence
from typing import Final

from faults.invariants import Evidence
from faults.trial import MANY, Case, Trial

CUT: Final = 3.0
FULL_CUT: Final = 30.0
"""Seconds for which a pair is cut off, scaled down and in full."""
AT_ONCE: Final = 3
_MAILS: Final = 40
_HOW: Final = ("refused", "silent", "reset")


async def _each_pair(trial: Trial) -> None:
    seconds = FULL_CUT if trial.full else CUT
    pairs = sorted(trial.system.proxies)
    trial.random.shuffle(pairs)
    trial.slow_sink(0.03)
    await trial.send(MANY)
    for start in range(0, len(pairs), AT_ONCE):
        await _cut_off(trial, pairs[start : start + AT_ONCE], seconds)
    trial.healed()
    trial.notes.append(f"{len(pairs)} pairs, {AT_ONCE} at a time, {seconds:g} s each")


async def _cut_off(trial: Trial, pairs: Sequence[str], seconds: float) -> None:
    how = {pair: trial.random.choice(_HOW) for pair in pairs}
    sending = asyncio.create_task(trial.tenant.send(trial.recipients(_MAILS), call_timeout=2.0))
    await asyncio.sleep(trial.random.uniform(0, 0.5))
    for pair in pairs:
        proxy = trial.system.proxies[pair]
        if how[pair] == "silent":
            proxy.silence()
        elif how[pair] == "refused":
            proxy.cut()
    ends = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < ends:
        for pair in pairs:
            if how[pair] == "reset":
                trial.system.proxies[pair].reset()
        await asyncio.sleep(0.3)
    for pair in pairs:
        await trial.system.proxies[pair].heal()
    await sending


def _all_delivered(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")


CASES: Final = (
    Case(
        "16",
        "each pair of parts cut off: refused, silent, or reset again and again",
        "all delivered; extra copies only where the exchanger's reply was cut off",
        _each_pair,
        _all_delivered,
    ),
)
