"""What is done to the system, and what it is judged by."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import grpc
import psycopg

from bench.processes import Usage, usages
from faults.application import Tenant
from faults.invariants import Evidence, violations
from faults.sink import Behaviour
from faults.system import NotReached, until
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.streams_look import NatsStreamsLook
from kannon.cli.standalone.components import ticking
from kannon.cli.standalone.errors import PartFailed
from kannon.runtime import settings as s
from scale.kills import Kills
from scale.system import INSTANCES, JOBS, LEASE, System

TENANTS: Final = 2
"""Applications; each has a connection of its own, so that both gateways are called."""
IDLE: Final = 1.5
"""Seconds after which a function that is not asked anything is stopped."""
TICK: Final = 1.0
RECOVERY: Final = 60.0
_ROUNDS: Final = 1.5
"""Rounds of kills that the mail takes at the least: the sink is as slow as that needs."""
_SLOWEST: Final = 0.05
"""Seconds a mail after which kills end, though not all mail has."""
_BATCH: Final = 1_000
_ASKS_EVERY: Final = 0.05
_STARTS_WITHIN: Final = 60.0
_FIRST_WORDS: Final = "451 4.3.0 once more, please"
_LAST_WORDS: Final = "550 5.1.1 no such mailbox"
_DEFERRED_OF: Final = 10
_BOUNCED_OF: Final = 25


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be tried.

    Attributes:
        mails: Deliveries.
        every: seconds from one round of kills to the next.
        rounds: of kills; 0: until all mail has its end.
        seed: says which instance is killed, and in which order.
    """

    mails: int
    every: float
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Load:
    """How many mails went through while functions were killed.

    Attributes:
        evidence: of each tenant.
        seconds: from the first call to the last end.
        kills: of all functions.
        during: of these, while mail was owed.
        dead_letters: events that no stage would do.
    """

    mails: int
    evidence: Sequence[Evidence]
    seconds: float
    kills: int
    during: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Single:
    """One mail.

    Attributes:
        when: what the functions did before.
        ms: from the call to its final dot at the sink.
        cold: functions that it had started.
    """

    when: str
    ms: float
    cold: Sequence[str]
    evidence: Evidence


Say = Callable[[str], None]


class Trial:
    """One run: a first mail, many mails amid kills, idleness, and a first mail again.

    Attributes:
        broken: what does not hold; empty where all does.
        parts: what those that run long have used.
    """

    def __init__(self, system: System, asked: Asked, say: Say) -> None:
        self._system = system
        self._asked = asked
        self._say = say
        self._names = itertools.count()
        self._run = time.time_ns() // 1_000_000 % 10_000_000
        self.load: Load | None = None
        self.singles: list[Single] = []
        self.broken: list[str] = []
        self.parts: dict[str, Usage] = {}

    async def run(self) -> None:
        """Do all of it; what does not hold is in `broken`."""
        try:
            await self._all_steps()
        except (NotReached, PartFailed) as error:
            self.broken.append(f"it did not come about: {error}")
        except grpc.aio.AioRpcError as error:
            self.broken.append(f"a call was refused: {error.details()}")
        self.parts = usages(self._system.supervisor.pids)

    async def _all_steps(self) -> None:
        await self._single("none had ever run")
        await self._single("warm")
        self._say(f"{INSTANCES} of each function")
        await self._system.scale(INSTANCES)
        await self._amid_kills()
        await self._until_idle()
        await self._single("idle")

    async def _tenant(self) -> Tenant:
        system = self._system
        tenant = Tenant(
            system.api,
            system.settings[s.API_ADMIN_TOKEN],
            system.settings[s.DATABASE_URL],
            system.sink,
            f"tenant{next(self._names)}-{self._run}",
        )
        await tenant.register()
        return tenant

    async def _single(self, when: str) -> None:
        tenant = await self._tenant()
        before = {name: front.traffic.cold for name, front in self._system.fronts.items()}
        copies = self._system.sink.copies
        earlier, began = len(copies), time.monotonic()
        await tenant.send([f"reader.{tenant.domain}@example.org"])
        await until(lambda: len(copies) > earlier, _STARTS_WITHIN, f"one mail arrives, functions {when}")
        ms = (copies[earlier].at - began) * 1000
        evidence = await self._settled(tenant, 1, time.monotonic())
        cold = [name for name, front in self._system.fronts.items() if front.traffic.cold > before[name]]
        self.singles.append(Single(when, ms, cold, evidence))
        self._judge(f"one mail, functions {when}", evidence)
        if list(evidence.copies.values()) != [1]:
            self.broken.append(f"one mail, functions {when}: {sum(evidence.copies.values())} copies")
        self._say(f"one mail, functions {when}: {ms:.0f} ms, started {', '.join(cold) or 'none'}")
        await tenant.close()

    async def _amid_kills(self) -> None:
        system = self._system
        tenants = [await self._tenant() for _ in range(TENANTS)]
        delay = _ROUNDS * self._asked.every * JOBS * INSTANCES / self._asked.mails
        system.exchanger.behave = lambda recipient, tries: _behaviour(recipient, tries, delay)
        began = time.monotonic()
        async with ticking(system.fronts["dispatch"].port, TICK):
            sending = asyncio.gather(*(self._send(one, at) for at, one in enumerate(tenants)))
            try:
                kills = await self._kill(tenants)
                await sending
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            healed = time.monotonic()
            evidence = [await self._settled(one, self._share(at), healed) for at, one in enumerate(tenants)]
        seconds = time.monotonic() - began
        owed = self._asked.mails + len(self.singles)
        what = f"integrators are told how {owed} mails ended"
        await until(lambda: len(system.receiver.ended) >= owed, RECOVERY, what)
        for number, found in enumerate(evidence):
            self._judge(f"application {number}", found)
        letters = await self._dead_letters()
        self.load = Load(self._asked.mails, evidence, seconds, kills.count, kills.during, letters)
        for tenant in tenants:
            await tenant.close()
        system.exchanger.calm()

    async def _send(self, tenant: Tenant, number: int) -> None:
        mails = self._share(number)
        for first in range(0, mails, _BATCH):
            numbers = range(first, min(first + _BATCH, mails))
            await tenant.send([f"r{at}.{tenant.domain}@example.org" for at in numbers])

    def _share(self, number: int) -> int:
        """How many mails this tenant sends."""
        return len(range(number, self._asked.mails, TENANTS))

    async def _kill(self, tenants: Sequence[Tenant]) -> Kills:
        """Kill until all mail has its end, or the rounds are over."""
        await until(lambda: any(one.copies for one in tenants), RECOVERY, "the first mail arrives")
        kills = Kills(self._system.fronts, self._asked.every, self._asked.seed)
        rounds = range(self._asked.rounds) if self._asked.rounds else itertools.count()
        deadline = time.monotonic() + self._asked.mails * _SLOWEST + LEASE + RECOVERY
        for _ in rounds:
            is_over = await kills.round(lambda: self._is_over(tenants))
            arrived = sum(one.copies.total() for one in tenants)
            self._say(f"{kills.count} killed, {arrived} mails at the sink")
            if is_over or time.monotonic() > deadline:
                break
        return kills

    async def _is_over(self, tenants: Sequence[Tenant]) -> bool:
        if sum(one.accepted for one in tenants) < self._asked.mails:
            return False
        return not any([await one.owed() for one in tenants])

    async def _settled(self, tenant: Tenant, count: int, healed: float) -> Evidence:
        """What is known when nothing is owed any more, or the time for that is over."""
        allowed = LEASE + RECOVERY
        settled: float | None = None
        while settled is None and time.monotonic() < healed + allowed:
            with suppress(psycopg.Error):
                if tenant.accepted >= count and not await tenant.owed():
                    settled = time.monotonic() - healed
                    break
            await asyncio.sleep(_ASKS_EVERY)
        return await tenant.evidence(settled, allowed)

    async def _until_idle(self) -> None:
        self._say(f"functions stop after {IDLE:g} s without a request")
        self._system.stop_when_idle(IDLE)
        await until(lambda: not self._system.running, _STARTS_WITHIN, "all functions are idle and stop")

    async def _dead_letters(self) -> int:
        async with await connect(self._system.settings[s.NATS_URL], "scale") as connection:
            return sum((await NatsStreamsLook(connection).look()).dead_letters.values())

    def _judge(self, what: str, found: Evidence) -> None:
        self.broken += [f"{what}: {broken}" for broken in violations(found)]


def _behaviour(recipient: str, tries: int, delay: float) -> Behaviour:
    """Some mailboxes are not there, some want to be asked twice: bounce has something to do, too."""
    number = int(recipient[1 : recipient.index(".")])
    if number % _BOUNCED_OF == 1:
        return Behaviour(rcpt=_LAST_WORDS)
    if number % _DEFERRED_OF == 2 and tries == 1:
        return Behaviour(rcpt=_FIRST_WORDS)
    return Behaviour(delay=delay)
