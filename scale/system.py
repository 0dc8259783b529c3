"""The system under test: two gateways, edges and sources that run, and of each function none, one or two."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from faults.proxy import Proxy
from faults.sink import Exchanger, Sink
from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.part import Part
from kannon.cli.standalone.plan import EDGE, EVERYTHING, FED, GATEWAY, Plan, Ports, on_this_machine
from kannon.cli.standalone.supervisor import Supervisor
from kannon.cli.standalone.system import with_servers
from kannon.runtime import settings as s
from scale.front import Front
from scale.receiver import Receiver

INSTANCES: Final = 2
JOBS: Final = 20
"""Transmissions that an edge has under way at once."""
LEASE: Final = 60.0
FUNCTIONS: Final = tuple(part for part in EVERYTHING if part not in (EDGE, GATEWAY))
_SETTINGS: Final = {
    "sender.hostname": "mail.sender.test",
    "sender.allow_networks": "127.0.0.0/8",
    "sender.max_jobs": str(JOBS),
    "sender.max_per_exchanger": str(JOBS),
    "sender.retry.base": "500ms",
    "sender.retry.min": "1s",
    "dispatch.lease": f"{LEASE:g}s",
}
"""As in operation, but for waits that would make a run take hours."""


class Balancer(Proxy):
    """Carries connections to several ports by turns, as a Service does."""

    def __init__(self, name: str, targets: Sequence[int]) -> None:
        super().__init__(name, targets[0])
        self._turns = itertools.cycle(targets)

    def choose(self) -> int:
        """See `Proxy`."""
        return next(self._turns)


@dataclass(frozen=True, slots=True)
class System:
    """A Kannon of two of each.

    Attributes:
        api: where clients reach the gateways by turns.
        fronts: the address of each function, by its name.
    """

    settings: s.Settings
    supervisor: Supervisor
    sink: Sink
    exchanger: Exchanger
    receiver: Receiver
    fronts: Mapping[str, Front]
    api: str

    async def scale(self, wanted: int) -> None:
        """Have so many instances of each function, ready."""
        await asyncio.gather(*(front.scale(wanted) for front in self.fronts.values()))

    def stop_when_idle(self, seconds: float | None) -> None:
        """Let functions stop that were not asked anything for so long; None: never."""
        for front in self.fronts.values():
            front.idle_after = seconds

    @property
    def running(self) -> int:
        """How many instances of functions are wanted."""
        return sum(front.running for front in self.fronts.values())


class _Source(Plan):
    """Sources that bring events to fronts."""

    def __init__(self, settings: s.Settings, fronts: Mapping[str, Front]) -> None:
        ports = {name: front.port for name, front in fronts.items() if name in FED}
        super().__init__(on_this_machine(settings, EVERYTHING), EVERYTHING, Ports(ports, free_port()))

    def numbered(self, number: int) -> Part:
        """One of them."""
        part = self.source()
        assert part is not None
        return _numbered(part, number)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[System]:
    """Start all that runs long, in this folder; stop everything when the context is left.

    Raises:
        StandaloneError: something does not start, or a signal asked to stop meanwhile.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(DataFolder(path))
        sink = Sink(path / "sink.jsonl")
        stack.push_async_callback(sink.stop)
        exchanger = await sink.listen("exchanger")
        receiver = await stack.enter_async_context(Receiver())
        supervisor = await stack.enter_async_context(Supervisor(folder, log_to_files=True))
        common = s.Settings.load(_told(folder, exchanger, receiver), environment={"K_CONFIG": os.devnull})
        common = await with_servers(common, folder, supervisor)
        await asyncio.to_thread(migrate, common[s.DATABASE_URL])
        each = _each(common, folder)
        await supervisor.start(*(part for name in (EDGE, GATEWAY) for part in _of_each(each, name)))
        fronts = {name: Front(_makers(each, name, folder)) for name in FUNCTIONS}
        stack.push_async_callback(_stop, fronts)
        for front in fronts.values():
            await front.start()
        await supervisor.start(*(_Source(one, fronts).numbered(at) for at, one in enumerate(each)))
        gateways = Balancer(GATEWAY, [one[s.API_PORT] for one in each])
        stack.push_async_callback(gateways.stop)
        await gateways.start()
        yield System(common, supervisor, sink, exchanger, receiver, fronts, f"127.0.0.1:{gateways.port}")


async def _stop(fronts: Mapping[str, Front]) -> None:
    await asyncio.gather(*(front.stop() for front in fronts.values()))


def _told(folder: DataFolder, exchanger: Exchanger, receiver: Receiver) -> Mapping[str, str]:
    return _SETTINGS | {
        "data_folder": str(folder.path),
        "secret": folder.secret,
        "api.admin_token": folder.admin_token,
        "sender.routes": f"*={exchanger.target}",
        "events.sink": receiver.url,
    }


def _each(common: s.Settings, folder: DataFolder) -> list[s.Settings]:
    """The settings of each instance of gateway and edge."""
    edges = [f"edge-{number}=127.0.0.1:{free_port()}" for number in range(INSTANCES)]
    return [
        common.with_defaults(
            {
                s.EDGE_TARGETS: ",".join(edges),
                s.EDGE_NAME: edge.partition("=")[0],
                s.EDGE_ADDRESS: edge.partition("=")[2],
                s.EDGE_JOURNAL: str(folder.subfolder(f"{EDGE}-{number}") / "journal.sqlite"),
                s.API_PORT: str(free_port()),
                s.SMTP_ADDRESS: f"127.0.0.1:{free_port()}",
            }
        )
        for number, edge in enumerate(edges)
    ]


def _of_each(each: Sequence[s.Settings], name: str) -> list[Part]:
    return [_part(settings, name, number) for number, settings in enumerate(each)]


def _makers(each: Sequence[s.Settings], name: str, folder: DataFolder) -> list[Callable[[], Part]]:
    """What makes the part of each instance of a function, on a port that is free then."""

    def make(settings: s.Settings, number: int) -> Part:
        part = _part(settings, name, number)
        return replace(part, output=folder.subfolder("logs") / f"{part.name}.log")

    return [partial(make, settings, number) for number, settings in enumerate(each)]


def _part(settings: s.Settings, name: str, number: int) -> Part:
    track = {s.TRACK_ADDRESS: f"127.0.0.1:{free_port()}"}
    plan = Plan(on_this_machine(settings.with_defaults(track), EVERYTHING), EVERYTHING, Ports.choose())
    return _numbered(next(part for part in plan.workers() if part.name == name), number)


def _numbered(part: Part, number: int) -> Part:
    return replace(part, name=f"{part.name}-{number}")
