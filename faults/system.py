"""The system under test: each part a process of its own, and a fault proxy between each two that talk."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import Final

from faults.proxy import Proxy
from faults.sink import Sink
from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.components import started
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.listening import accepts_connections, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.part import Part
from kannon.cli.standalone.plan import (
    EDGE,
    GATEWAY,
    SOURCE,
    STAGES,
    TRACK,
    Plan,
    Ports,
    everything,
    on_this_machine,
)
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.cli.standalone.supervisor import Backoff, Supervisor
from kannon.runtime import settings as s

NATS, POSTGRES, MAIN = "nats", "postgres", "exchanger"
ON_NATS: Final = (GATEWAY, *STAGES, EDGE, SOURCE, TRACK)
ON_POSTGRES: Final = (GATEWAY, "dispatch", "stats", "webhooks", TRACK)
SECOND_EDGE: Final = "edge-smtp-1"
SCALE: Final = 0.02
"""`sender.timeout_scale`: a minute that an exchanger is waited for lasts 1.2 seconds."""
LEASE: Final = 6.0
RETRY_BASE: Final = 0.25
RETRY_MIN: Final = 0.5
"""Seconds: what greylisting waits first, and the shortest other wait."""
SETTINGS: Final = {
    "sender.hostname": "mail.sender.test",
    "sender.allow_networks": "127.0.0.0/8",
    "sender.retry.base": f"{RETRY_BASE * 1000:.0f}ms",
    "sender.retry.min": f"{RETRY_MIN * 1000:.0f}ms",
    "sender.retry.max": "4s",
    "sender.suspend.first": "1s",
    "sender.suspend.max": "4s",
    "sender.connect_timeout": "2s",
    "sender.timeout_scale": str(SCALE),
    "sender.max_jobs": "20",
    "dispatch.lease": f"{LEASE:g}s",
    "tick.every": "300ms",
    "source.timeout": "6s",
    "source.connect_timeout": "1s",
}
"""Everything that waits is shortened; what is counted is as in operation."""
DOMAINS: Final = tuple(f"exchanger{number}.test" for number in range(13))
"""Domains with an exchanger each, beside the main one."""
_HELD = 'while [ -e "$0" ]; do sleep 0.02; done; exec "$@"'


class NotReached(Exception):
    """Something that had to come did not: the case says nothing."""


async def until(condition: Callable[[], object], within: float, what: str) -> None:
    """Wait for `condition`.

    Raises:
        NotReached: it did not come true within that many seconds.
    """
    deadline = asyncio.get_running_loop().time() + within
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise NotReached(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class _Managed:
    """A part as the suite holds it: its environment may be changed for its next start."""

    part: Part
    environment: dict[str, str]
    hold: Path


class System:
    """A running Kannon whose parts can be broken, each by itself, and each way between two of them.

    Attributes:
        proxies: by `<who calls>-<who is called>`; `client-api-gateway` and `edge-smtp-exchanger`, too.
    """

    def __init__(self, folder: DataFolder, sink: Sink, supervisor: Supervisor) -> None:
        self.folder = folder
        self.sink = sink
        self.supervisor = supervisor
        self.proxies: dict[str, Proxy] = {}
        self.nats = EmbeddedNats(folder)
        self.postgres = EmbeddedPostgres(folder)
        self.admin_token = folder.admin_token
        self._managed: dict[str, _Managed] = {}
        self._edges: dict[str, int] = {}
        self._holds = folder.path / "holds"
        self._holds.mkdir(mode=0o711, exist_ok=True)

    @property
    def api(self) -> str:
        """Where the application calls: through a proxy."""
        return f"127.0.0.1:{self.proxies[f'client-{GATEWAY}'].port}"

    @property
    def journal(self) -> Path:
        """The folder of the edge's journal."""
        return self.folder.path / "edge"

    def pid(self, part: str) -> int:
        """The process of a part; 0 while it has none."""
        return self.supervisor.pids.get(part, 0)

    def variable(self, part: str, name: str) -> str:
        """What a part is told by a variable."""
        return self._managed[part].environment[name]

    def signal(self, part: str, number: Signals = signal.SIGKILL) -> int:
        """Send a signal to a part; returns its process id."""
        pid = self.pid(part)
        if not pid:
            raise NotReached(f"{part} does not run")
        os.kill(pid, number)
        return pid

    async def until_ended(self, part: str, pid: int, within: float = 30.0) -> None:
        """Wait until this process of a part has ended."""
        await until(lambda: self.pid(part) != pid, within, f"{part} dies")

    async def until_ready(self, part: str, within: float = 60.0) -> None:
        """Wait until a part does its work (again)."""
        ready = self._managed[part].part.ready
        assert ready is not None
        deadline = asyncio.get_running_loop().time() + within
        while not (self.pid(part) and await ready()):
            if asyncio.get_running_loop().time() > deadline:
                raise NotReached(f"{part} is not ready within {within:g} s")
            await asyncio.sleep(0.02)

    async def kill(self, part: str) -> None:
        """Kill a part, and wait until its process has ended; it is started again by itself."""
        await self.until_ended(part, self.signal(part))

    async def restart(self, part: str, changed: Mapping[str, str] | None = None) -> None:
        """Stop a part in order and have it start, with other variables from then on.

        Args:
            changed: variables; an empty value removes one.
        """
        environment = self._managed[part].environment
        for name, value in (changed or {}).items():
            if value:
                environment[name] = value
            else:
                environment.pop(name, None)
        await self.until_ended(part, self.signal(part, signal.SIGTERM))
        await self.until_ready(part)

    async def arm(self, part: str, failpoints: str, changed: Mapping[str, str] | None = None) -> int:
        """Restart a part with failpoints, for this one run of it; returns its process id.

        Args:
            changed: further variables, for this run, too.
        """
        armed = {s.TEST_BUILD.variable: "true", s.TEST_FAILPOINTS.variable: failpoints, **(changed or {})}
        environment = self._managed[part].environment
        before = dict(environment)
        await self.restart(part, armed)
        environment.clear()  # the process has read it: what is started after its death has no failpoints
        environment.update(before)
        return self.pid(part)

    @asynccontextmanager
    async def away(self, part: str) -> AsyncIterator[None]:
        """Kill a part, and have it stay away while the context lasts."""
        hold = self._managed[part].hold
        hold.touch()
        try:
            await self.kill(part)
            yield
        finally:
            hold.unlink()
        await self.until_ready(part)

    async def heal(self) -> None:
        """All proxies carry, all exchangers take."""
        self.sink.calm()
        for proxy in self.proxies.values():
            await proxy.heal()

    async def proxied(self, name: str, target: int) -> Proxy:
        """A proxy in front of a port, running."""
        proxy = self.proxies[name] = Proxy(name, target)
        await proxy.start()
        return proxy

    def held(self, part: Part) -> Part:
        """A part that can be kept from starting, and whose environment can be changed."""
        hold, environment = self._holds / part.name, dict(part.env)
        argv = ["/bin/sh", "-c", _HELD, hold, *part.argv]
        held = replace(part, argv=argv, env=environment, ready_timeout=600.0)
        self._managed[part.name] = _Managed(held, environment, hold)
        return held

    async def start_second_edge(self) -> None:
        """Run another edge, and let dispatch and send know it; once."""
        if SECOND_EDGE in self._managed:
            return
        first, port = self._managed[EDGE].part, free_port()
        proxy = await self.proxied(f"send-{SECOND_EDGE}", port)
        journal = self.folder.subfolder(SECOND_EDGE) / "journal.sqlite"
        told = {
            s.EDGE_NAME.variable: "edge-1",
            s.EDGE_ADDRESS.variable: f"127.0.0.1:{port}",
            s.EDGE_JOURNAL.variable: str(journal),
            s.SMTP_ADDRESS.variable: "127.0.0.1:0",
        }
        part = replace(
            first,
            name=SECOND_EDGE,
            argv=first.argv[4:],
            env={**first.env, **told},
            ready=_listens(port),
            output=None,
        )
        await self.supervisor.start(self.held(part))
        self._edges = {"edge-0": self.proxies[f"send-{EDGE}"].port, "edge-1": proxy.port}

    async def use_edges(self, *names: str) -> None:
        """Let dispatch pin to these edges, and send reach all there are."""
        every = ",".join(f"{name}=127.0.0.1:{port}" for name, port in self._edges.items())
        some = ",".join(f"{name}=127.0.0.1:{self._edges[name]}" for name in names)
        await self.restart("send", {s.EDGE_TARGETS.variable: every})
        await self.restart("dispatch", {s.EDGE_TARGETS.variable: some})


class _WiredPlan(Plan):
    """A plan whose parts reach one another through proxies."""

    def __init__(self, system: System, settings: s.Settings) -> None:
        super().__init__(settings, everything(settings), Ports.choose())
        self._system = system

    async def wire(self) -> None:
        """Start all proxies."""
        system = self._system
        for part in ON_NATS:
            await system.proxied(f"{part}-{NATS}", system.nats.port)
        for part in ON_POSTGRES:
            await system.proxied(f"{part}-{POSTGRES}", system.postgres.port)
        for stage, port in self.stages.items():
            await system.proxied(f"{SOURCE}-{stage}", port)
        await system.proxied(f"send-{EDGE}", self._settings[s.EDGE_ADDRESS][1])
        await system.proxied(f"client-{GATEWAY}", self._settings[s.API_PORT])

    def workers(self) -> list[Part]:
        """See `Plan`."""
        return [self._wired(part) for part in super().workers()]

    def source(self) -> Part | None:
        """See `Plan`."""
        source = super().source()
        assert source is not None
        return self._wired(source)

    def _wired(self, part: Part) -> Part:
        system, environment = self._system, dict(part.env)
        port = {name: proxy.port for name, proxy in system.proxies.items()}
        environment[s.NATS_URL.variable] = system.nats.url.replace(
            f":{system.nats.port}", f":{port[f'{part.name}-{NATS}']}"
        )
        if part.name in ON_POSTGRES:
            environment[s.DATABASE_URL.variable] = system.postgres.url.replace(
                f":{system.postgres.port}", f":{port[f'{part.name}-{POSTGRES}']}"
            )
        if part.name in ("send", "dispatch"):
            environment[s.EDGE_TARGETS.variable] = f"edge-0=127.0.0.1:{port[f'send-{EDGE}']}"
        if part.name == SOURCE:
            routes = ",".join(f"{stage}=http://127.0.0.1:{port[f'{SOURCE}-{stage}']}/" for stage in STAGES)
            environment[s.SOURCE_ROUTES.variable] = routes
        return system.held(replace(part, env=environment))


def _listens(port: int) -> Callable[[], Awaitable[bool]]:
    return lambda: accepts_connections(port)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[System]:
    """Start everything in this folder; stop it when the context is left.

    Raises:
        StandaloneError: something does not start, or a signal asked to stop meanwhile.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(DataFolder(path))
        sink = Sink(path / "sink.jsonl")
        stack.push_async_callback(sink.stop)
        backoff = Backoff(first=0.1, longest=0.4)
        supervisor = await stack.enter_async_context(Supervisor(folder, log_to_files=True, backoff=backoff))
        system = System(folder, sink, supervisor)
        stack.push_async_callback(_stop_proxies, system)
        await system.postgres.prepare()
        await system.nats.prepare()
        await supervisor.start(system.held(system.postgres.part()), system.held(system.nats.part()))
        await asyncio.to_thread(migrate, system.postgres.url)
        settings = await _settings(system)
        plan = _WiredPlan(system, settings)
        await plan.wire()
        async with started(plan, supervisor, settings[s.TICK_EVERY].total_seconds()):
            yield system


async def _settings(system: System) -> s.Settings:
    main = await system.sink.listen(MAIN)
    to_main = await system.proxied(f"{EDGE}-{MAIN}", main.port)
    routes = {"example.org": f"127.0.0.1:{to_main.port}"}
    for number, domain in enumerate(DOMAINS):
        routes[domain] = (await system.sink.listen(domain, f"127.0.0.{10 + number}")).target
    told = SETTINGS | {
        "data_folder": str(system.folder.path),
        "database_url": system.postgres.url,
        "nats_url": system.nats.url,
        "secret": system.folder.secret,
        "api.admin_token": system.admin_token,
        "api.port": str(free_port()),
        "edge.address": f"127.0.0.1:{free_port()}",
        "smtp.address": f"127.0.0.1:{free_port()}",
        "track.address": f"127.0.0.1:{free_port()}",
        "edge.journal": str(system.folder.subfolder("edge") / "journal.sqlite"),
        "sender.routes": ",".join(f"{domain}={target}" for domain, target in routes.items()),
    }
    settings = s.Settings.load(told, environment={"K_CONFIG": os.devnull})
    return on_this_machine(settings, everything(settings))


async def _stop_proxies(system: System) -> None:
    for proxy in system.proxies.values():
        await proxy.stop()


def replace_folder(folder: Path, other: Path | None) -> None:
    """Put a copy of `other` in the place of `folder`; nothing where that is None."""
    if folder.exists():
        shutil.rmtree(folder)
    if other is not None:
        shutil.copytree(other, folder)
