"""A case, tried once: what cases work with, and how one is judged."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
import psycopg

from faults.application import Tenant
from faults.invariants import SETTLED_WITHIN, Evidence, violations
from faults.sink import Behaviour, Exchanger, Sink
from faults.system import MAIN, NotReached, System, until

MANY: Final = 200
"""Deliveries of a case, at the least."""
_QUIET: Final = 0.7
"""Seconds without another copy, after which none is expected."""
_SLOW: Final = 0.05


class NotProvoked(Exception):
    """This fault cannot be had here; the text says why."""


@dataclass(slots=True)
class Trial:
    """A case under way: a tenant of its own on the common system.

    Attributes:
        random: all that varies from seed to seed.
        full: whether nothing is scaled down.
        notes: what is worth telling.
        broken: what did not hold, beside the invariants.
        healed_at: when the fault was over.
        settled_at: when nothing was owed any more, where the case itself has waited for it.
    """

    system: System
    tenant: Tenant
    random: random.Random
    full: bool
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    healed_at: float = 0.0
    settled_at: float = 0.0
    allowed_seconds: float = SETTLED_WITHIN

    @property
    def sink(self) -> Sink:
        """The exchangers."""
        return self.system.sink

    @property
    def main(self) -> Exchanger:
        """The exchanger of `example.org`."""
        return self.sink.exchangers[MAIN]

    @property
    def arrived(self) -> int:
        """Copies that are at the sink."""
        return self.tenant.copies.total()

    def slow_sink(self, seconds: float = _SLOW) -> None:
        """Let the main exchanger take a while for each mail, so that much is in flight."""
        self.main.behave = lambda _recipient, _tries: Behaviour(delay=seconds)

    async def send(self, count: int = MANY, domains: Sequence[str] = ("example.org",)) -> None:
        """Send one Batch, spread over recipients' domains."""
        await self.tenant.send(self.recipients(count, domains))

    def recipients(self, count: int, domains: Sequence[str] = ("example.org",)) -> list[str]:
        """So many addresses that nobody has sent to yet."""
        first = len(self.tenant.recipients)
        name = self.tenant.domain.partition(".")[0]
        numbers = range(first, first + count)
        return [f"r{number}.{name}@{domains[number % len(domains)]}" for number in numbers]

    async def until_arrived(self, count: int, within: float = 40.0) -> None:
        """Wait until so many copies are at the sink."""
        await until(
            lambda: self.arrived >= count, within, f"{count} mails at the sink, there are {self.arrived}"
        )

    async def some_arrive(self, most: int = 60) -> None:
        """Wait until some copies have arrived: how many the seed says."""
        await self.until_arrived(self.random.randint(3, most))

    async def until_all_emitted(self, within: float = 40.0) -> None:
        """Wait until no Delivery waits in the ledger to be emitted."""
        deadline = time.monotonic() + within
        while {"accepted", "scheduled"} & set((await self.tenant.statuses()).values()):
            if time.monotonic() > deadline:
                raise NotReached(f"not all emitted within {within:g} s")
            await asyncio.sleep(0.02)

    async def until_all_ended(self) -> None:
        """Wait until nothing is owed any more, for as long as is allowed; the invariants tell the rest."""
        deadline = (self.healed_at or time.monotonic()) + self.allowed_seconds
        while await self.tenant.owed():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.05)
        self.settled_at = time.monotonic()

    def demand(self, holds: object, what: str) -> None:
        """Something beside the invariants that must hold."""
        if not holds:
            self.broken.append(what)

    def healed(self) -> None:
        """The fault is over: from now on the system is on its own."""
        self.healed_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of fault.

    Attributes:
        label: its number in the design's list, and a letter where there are several.
        done: what is done to the system.
        expected: what must come of it.
        judge: what must hold beside the invariants, once all has settled.
    """

    label: str
    done: str
    expected: str
    provoke: Callable[[Trial], Awaitable[None]]
    judge: Callable[[Trial, Evidence], None] | None = None

    @property
    def number(self) -> int:
        """Its number without the letter."""
        return int(self.label.rstrip("abcdefgh"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial ended."""

    case: Case
    seed: int
    seconds: float
    evidence: Evidence | None
    broken: Sequence[str]
    notes: Sequence[str]
    not_provoked: str = ""

    @property
    def is_good(self) -> bool:
        """Whether everything held, as far as it could be tried."""
        return not self.broken


async def try_case(case: Case, system: System, seed: int, full: bool) -> tuple[Verdict, Tenant]:
    """Provoke a fault, let the system settle by itself, and judge what it came to."""
    began = time.monotonic()
    tenant = Tenant(
        system.api,
        system.admin_token,
        system.postgres.url,
        system.sink,
        f"case{case.label}-{seed}-{time.time_ns() // 1_000_000 % 10_000_000}",
    )
    trial = Trial(system, tenant, random.Random(f"{case.label}/{seed}"), full)  # noqa: S311 - nothing secret
    evidence, not_provoked = None, ""
    try:
        await tenant.register()
        await case.provoke(trial)
        evidence = await _settled(trial)
        trial.broken += violations(evidence)
        if case.judge is not None:
            case.judge(trial, evidence)
    except NotProvoked as error:
        not_provoked = str(error)
    except (NotReached, grpc.aio.AioRpcError, psycopg.Error) as error:
        said = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        trial.broken.append(f"the case did not come about: {said}")
    finally:
        await system.heal()
    seconds = time.monotonic() - began
    return Verdict(case, seed, seconds, evidence, trial.broken, trial.notes, not_provoked), tenant


async def _settled(trial: Trial) -> Evidence:
    began = trial.healed_at or time.monotonic()
    deadline = began + trial.allowed_seconds
    settled: float | None = None
    while settled is None and time.monotonic() < deadline:
        try:
            if not await trial.tenant.owed():
                settled = max(0.0, (trial.settled_at or time.monotonic()) - began)
        except psycopg.Error:
            pass  # it is only just coming back
        await asyncio.sleep(0.05)
    await _until_quiet(trial)
    return await trial.tenant.evidence(settled, trial.allowed_seconds)


async def _until_quiet(trial: Trial) -> None:
    seen, since = trial.arrived, time.monotonic()
    while time.monotonic() - since < _QUIET:
        await asyncio.sleep(0.05)
        if trial.arrived != seen:
            seen, since = trial.arrived, time.monotonic()
