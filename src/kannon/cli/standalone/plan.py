"""What runs here: the programs of the parts, and what each of them is told."""

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kannon.cli.standalone.errors import StandaloneError
from kannon.cli.standalone.listening import (
    accepts_connections,
    answers_http,
    as_client,
    check_port,
    free_port,
)
from kannon.cli.standalone.part import Part
from kannon.core.keys import Purpose
from kannon.runtime.keys import SETTING_OF, encode_key, key_for
from kannon.runtime.settings import (
    API_ADMIN_TOKEN,
    API_HOST,
    API_PORT,
    ATTACHMENTS_SECRET_KEY,
    DATABASE_URL,
    EDGE_ADDRESS,
    EDGE_JOURNAL,
    EDGE_NAME,
    EDGE_TARGETS,
    EVENTS_SINK,
    METRICS_HOST,
    METRICS_PORT,
    NATS_URL,
    RUN_API,
    RUN_BOUNCE,
    RUN_DISPATCHER,
    RUN_EVENTS,
    RUN_SENDER,
    RUN_SMTP,
    RUN_STATS,
    RUN_TRACK,
    RUN_VERIFIER,
    RUN_WEBHOOKS,
    SENDER_HOSTNAME,
    SMTP_ADDRESS,
    SOURCE_HEALTH_HOST,
    SOURCE_HEALTH_PORT,
    SOURCE_ROUTES,
    TRACK_ADDRESS,
    Setting,
    Settings,
    SettingsError,
)

GATEWAY, EDGE, SOURCE, TRACK = "api-gateway", "edge-smtp", "nats-source", "track"
_READY_SECONDS = 75.0  # more than a part waits for its servers: it says itself what is not there
STAGES = ("verify", "dispatch", "send", "bounce", "stats", "webhooks")
TICKED = ("dispatch", "webhooks")
"""Stages that the timer wakes."""
EVENTS = "events"
"""The function that tells others; it is fed as a stage is, and nothing depends on it."""
FED = (*STAGES, EVENTS)
MEASURED = (GATEWAY, EDGE, SOURCE)
"""Parts whose metrics have a port of their own; functions serve theirs where they serve all else."""
EVERYTHING = (EDGE, *FED, TRACK, GATEWAY)

COMPONENTS: Mapping[Setting[bool], str] = {
    RUN_API: GATEWAY,
    RUN_SMTP: EDGE,
    RUN_SENDER: "send",
    RUN_DISPATCHER: "dispatch",
    RUN_VERIFIER: "verify",
    RUN_BOUNCE: "bounce",
    RUN_STATS: "stats",
    RUN_EVENTS: EVENTS,
    RUN_TRACK: TRACK,
    RUN_WEBHOOKS: "webhooks",
}
"""The settings that choose parts for `kannon run`."""

_KEYS: Mapping[str, tuple[Purpose, ...]] = {
    GATEWAY: (Purpose.DKIM_KEYS, Purpose.EVENTS, Purpose.WEBHOOK_SECRETS),
    "verify": (Purpose.EVENTS,),
    "dispatch": (
        Purpose.DKIM_KEYS,
        Purpose.ENVELOPES,
        Purpose.EVENTS,
        Purpose.RETURN_PATHS,
        Purpose.TRACKING_KEYS,
    ),
    "send": (Purpose.EVENTS,),
    "bounce": (Purpose.EVENTS, Purpose.RETURN_PATHS),
    "stats": (Purpose.EVENTS,),
    "webhooks": (Purpose.EVENTS, Purpose.WEBHOOK_SECRETS),
    EVENTS: (Purpose.EVENTS,),
    EDGE: (Purpose.ENVELOPES, Purpose.EVENTS, Purpose.RETURN_PATHS),
    TRACK: (Purpose.EVENTS,),
    SOURCE: (),
}
"""The keys each part is given: no more than it needs."""

_NEEDS: Mapping[str, tuple[Setting[Any], ...]] = {
    GATEWAY: (DATABASE_URL, NATS_URL, API_ADMIN_TOKEN),
    "verify": (NATS_URL,),
    "dispatch": (DATABASE_URL, NATS_URL, EDGE_TARGETS),
    "send": (NATS_URL, EDGE_TARGETS),
    "bounce": (NATS_URL,),
    "stats": (DATABASE_URL, NATS_URL),
    "webhooks": (DATABASE_URL,),
    EVENTS: (EVENTS_SINK,),
    EDGE: (NATS_URL, SENDER_HOSTNAME, EDGE_JOURNAL),
    TRACK: (DATABASE_URL, NATS_URL),
    SOURCE: (NATS_URL,),
}
"""The settings each part cannot do without. Secrets that do not stand here it never learns."""

_USES_STORE = frozenset({GATEWAY, "dispatch", "send", "bounce", EDGE})
"""Parts that read or write the attachment store, where there is one, and may learn its secret."""


def project_root() -> Path:
    """Where `functions/` lies: in a checkout beside the sources, in an image in the working folder.

    Raises:
        StandaloneError: nowhere.
    """
    for root in (*Path(__file__).resolve().parents, Path.cwd()):
        if (root / "functions" / "verify" / "main.py").is_file():
            return root
    raise StandaloneError("the folder `functions` is not there: run from a checkout, or from the image")


def everything(settings: Settings) -> tuple[str, ...]:
    """All parts that there is something to do for."""
    sink = settings.get(EVENTS_SINK)
    return tuple(part for part in EVERYTHING if part != EVENTS or sink)


def chosen(settings: Settings) -> tuple[str, ...]:
    """The parts that `run-*` choose.

    Raises:
        SettingsError: none.
    """
    parts = tuple(part for setting, part in COMPONENTS.items() if settings[setting])
    if not parts:
        flags = ", ".join(f"--{setting.key}" for setting in COMPONENTS)
        raise SettingsError(f"nothing is chosen to run: give one or more of {flags} (or K_RUN_API=true, …)")
    return parts


def on_this_machine(settings: Settings, parts: Collection[str]) -> Settings:
    """The settings of parts that run side by side: where nothing else is given, they listen on 127.0.0.1, and
    the edge that mail goes to is the one that runs here."""
    _, edge_port = EDGE_ADDRESS.parse(str(EDGE_ADDRESS.default))
    _, track_port = TRACK_ADDRESS.parse(str(TRACK_ADDRESS.default))
    local = settings.with_defaults(
        {
            API_HOST: "127.0.0.1",
            EDGE_ADDRESS: f"127.0.0.1:{edge_port}",
            METRICS_HOST: "127.0.0.1",
            SOURCE_HEALTH_HOST: "127.0.0.1",
            TRACK_ADDRESS: f"127.0.0.1:{track_port}",
        }
    )
    if EDGE not in parts:
        return local
    return local.with_defaults({EDGE_TARGETS: f"{local[EDGE_NAME]}={_reached_at(*local[EDGE_ADDRESS])}"})


def check_ports(settings: Settings, parts: Collection[str]) -> None:
    """Make sure that what is to run can listen where the settings say.

    Raises:
        PortUnavailable: it cannot.
        SettingsError: a port of gateway or edge is 0, which nobody could find.
    """
    places: list[tuple[Setting[Any], str, int]] = []
    if GATEWAY in parts:
        places.append((API_PORT, settings[API_HOST], settings[API_PORT]))
    if EDGE in parts:
        places.append((EDGE_ADDRESS, *settings[EDGE_ADDRESS]))
        places.append((SMTP_ADDRESS, *settings[SMTP_ADDRESS]))
    for setting, _, port in places:
        if not port:
            raise SettingsError(f"{setting.key} ({setting.variable}): a port from 1 to 65535 is needed here")
    if TRACK in parts:
        places.append((TRACK_ADDRESS, *settings[TRACK_ADDRESS]))
    if settings[SOURCE_HEALTH_PORT] and not set(parts) <= {GATEWAY, EDGE, TRACK}:
        places.append((SOURCE_HEALTH_PORT, settings[SOURCE_HEALTH_HOST], settings[SOURCE_HEALTH_PORT]))
    places += [
        (METRICS_PORT, settings[METRICS_HOST], port)
        for part in (*parts, SOURCE)
        if (port := _metrics_port(settings, part))
    ]
    for setting, host, port in places:
        check_port(port, setting.key, host=host)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where stages, and the source's health check unless a setting says so, listen on 127.0.0.1."""

    stages: Mapping[str, int]
    source_health: int

    @classmethod
    def choose(cls) -> "Ports":
        """Ports that are free now."""
        return cls({stage: free_port() for stage in FED}, free_port())


class Plan:
    """Says how each part is run.

    Args:
        settings: as `on_this_machine` gives them.
        parts: names of those that run; the source comes along where a stage does.

    Raises:
        SettingsError: a part lacks what it needs, or a setting is malformed.
    """

    def __init__(self, settings: Settings, parts: Collection[str], ports: Ports) -> None:
        settings.check()
        self._settings = settings
        self._parts = tuple(part for part in EVERYTHING if part in parts)
        self._ports = ports
        self._root = project_root()
        for part in self._parts:
            self._check_needs(part)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that were asked for, in the order in which mail goes through them."""
        return tuple(part for part in (GATEWAY, *FED, EDGE, TRACK) if part in self._parts)

    @property
    def stages(self) -> Mapping[str, int]:
        """The ports of the stages that run."""
        return {stage: port for stage, port in self._ports.stages.items() if stage in self._parts}

    @property
    def needs_ledger(self) -> bool:
        """Whether a part is in it that works on the database."""
        return any(DATABASE_URL in _NEEDS[part] for part in self._parts)

    @property
    def api(self) -> str | None:
        """Where clients on this machine reach the gateway; None where it does not run."""
        return (
            _reached_at(self._settings[API_HOST], self._settings[API_PORT])
            if GATEWAY in self._parts
            else None
        )

    @property
    def edge(self) -> str | None:
        """Where others on this machine reach the edge; None where it does not run."""
        return _reached_at(*self._settings[EDGE_ADDRESS]) if EDGE in self._parts else None

    @property
    def reports(self) -> str | None:
        """Where others on this machine bring reports to; None where the edge does not run."""
        return _reached_at(*self._settings[SMTP_ADDRESS]) if EDGE in self._parts else None

    @property
    def tracking(self) -> str | None:
        """Where others on this machine reach track; None where it does not run."""
        return _reached_at(*self._settings[TRACK_ADDRESS]) if TRACK in self._parts else None

    def workers(self) -> list[Part]:
        """Gateway, edge and stages: what must stand before events flow."""
        return [self._worker(part) for part in self._parts]

    def source(self) -> Part | None:
        """The source that feeds the stages that run, and no others; None where there are none."""
        if not self.stages:
            return None
        host, port = self._settings[SOURCE_HEALTH_HOST], self._settings[SOURCE_HEALTH_PORT]
        if not port:
            host, port = "127.0.0.1", self._ports.source_health
        routes = ",".join(f"{stage}=http://127.0.0.1:{at}/" for stage, at in self.stages.items())
        told = {
            SOURCE_ROUTES.variable: routes,
            SOURCE_HEALTH_HOST.variable: host,
            SOURCE_HEALTH_PORT.variable: str(port),
        }
        return self._part(SOURCE, ["-m", "nats_source"], told, port, "/healthz", as_client(host))

    def _worker(self, part: str) -> Part:
        if part == GATEWAY:
            host, port = self._settings[API_HOST], self._settings[API_PORT]
            return self._part(part, ["-m", "api_gateway"], {}, port, "", as_client(host))
        if part == EDGE:
            host, port = self._settings[EDGE_ADDRESS]
            return self._part(part, ["-m", "edge_smtp"], {}, port, "", as_client(host))
        is_public = part == TRACK
        host, port = self._settings[TRACK_ADDRESS] if is_public else ("127.0.0.1", self.stages[part])
        told = {
            "FUNCTION_SOURCE": str(self._root / "functions" / part / "main.py"),
            "FUNCTION_TARGET": part,
            "HOST": host,
            "PORT": str(port),
        }
        program = "kannon.runtime.serve_public" if is_public else "kannon.runtime.serve"
        return self._part(part, ["-m", program], told, port, "/", as_client(host))

    def _part(
        self, name: str, arguments: list[str], told: Mapping[str, str], port: int, path: str, host: str
    ) -> Part:
        async def ready() -> bool:
            return await (
                answers_http(port, path, host=host) if path else accepts_connections(port, host=host)
            )

        return Part(
            name=name,
            argv=[sys.executable, *arguments],
            env={**self._environment(name), **told},
            ready=ready,
            ready_timeout=_READY_SECONDS,
        )

    def _environment(self, name: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("K_")}
        secrets = {setting.variable: self._settings[setting] for setting in _NEEDS[name] if setting.secret}
        if name in _USES_STORE:
            secrets[ATTACHMENTS_SECRET_KEY.variable] = self._settings[ATTACHMENTS_SECRET_KEY]
        keys = {
            SETTING_OF[purpose].variable: encode_key(key_for(self._settings, purpose))
            for purpose in _KEYS[name]
        }
        path = os.pathsep.join(filter(None, (str(self._root), os.environ.get("PYTHONPATH"))))
        # The file was read here already; a part is told by variables, and only what concerns it.
        own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "K_CONFIG": os.devnull}
        own[METRICS_PORT.variable] = str(_metrics_port(self._settings, name))
        return inherited | dict(self._settings.written()) | secrets | keys | own

    def _check_needs(self, part: str) -> None:
        for setting in _NEEDS[part]:
            if not self._settings[setting]:
                raise SettingsError(
                    f"{setting.key} ({setting.variable}) is required by {part} where no edge runs beside it: "
                    f"{setting.help}"
                )
        for purpose in _KEYS[part]:
            key_for(self._settings, purpose)


def _metrics_port(settings: Settings, part: str) -> int:
    """Where a part whose metrics have their own port serves them, one each from `metrics.port` on; or 0."""
    first = settings[METRICS_PORT]
    return first + MEASURED.index(part) if first and part in MEASURED else 0


def _reached_at(host: str, port: int) -> str:
    host = as_client(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
