"""What a standalone consists of: the programs of its parts, and what each of them is told."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kannon.cli.standalone.errors import StandaloneError
from kannon.cli.standalone.listening import accepts_connections, answers_http, free_port
from kannon.cli.standalone.part import Part
from kannon.core.keys import Purpose
from kannon.runtime.keys import SETTING_OF, encode_key, key_for
from kannon.runtime.settings import (
    API_ADMIN_TOKEN,
    API_HOST,
    API_PORT,
    DATABASE_URL,
    EDGE_ADDRESS,
    EDGE_JOURNAL,
    EDGE_NAME,
    EDGE_TARGETS,
    NATS_URL,
    SOURCE_HEALTH_HOST,
    SOURCE_HEALTH_PORT,
    SOURCE_ROUTES,
    Setting,
    Settings,
)

STAGES = ("verify", "dispatch", "send", "bounce", "stats")

_KEYS: Mapping[str, tuple[Purpose, ...]] = {
    "api-gateway": (Purpose.DKIM_KEYS, Purpose.EVENTS),
    "verify": (Purpose.EVENTS,),
    "dispatch": (Purpose.DKIM_KEYS, Purpose.ENVELOPES, Purpose.EVENTS, Purpose.RETURN_PATHS),
    "send": (Purpose.EVENTS,),
    "bounce": (Purpose.EVENTS,),
    "stats": (Purpose.EVENTS,),
    "edge-smtp": (Purpose.ENVELOPES, Purpose.EVENTS),
    "nats-source": (),
}
"""The keys each part is given: no more than it needs."""

_SECRETS: Mapping[str, tuple[Setting[str], ...]] = {
    "api-gateway": (DATABASE_URL, NATS_URL, API_ADMIN_TOKEN),
    "dispatch": (DATABASE_URL, NATS_URL),
    "stats": (DATABASE_URL, NATS_URL),
}
"""Parts that need more than NATS; the others never learn where PostgreSQL is."""


def project_root() -> Path:
    """Where `functions/` lies: in a checkout beside the sources, in an image in the working folder.

    Raises:
        StandaloneError: nowhere.
    """
    for root in (*Path(__file__).resolve().parents, Path.cwd()):
        if (root / "functions" / "verify" / "main.py").is_file():
            return root
    raise StandaloneError("the folder `functions` is not there: run from a checkout, or from the image")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen, on 127.0.0.1."""

    edge: int
    source_health: int
    stages: Mapping[str, int]

    @classmethod
    def choose(cls) -> "Ports":
        """Ports that are free now."""
        return cls(free_port(), free_port(), {stage: free_port() for stage in STAGES})


class Plan:
    """Says how each part is run.

    Args:
        settings: complete, with the URLs of servers and the secrets.
        data: the folder for what parts keep.
    """

    def __init__(self, settings: Settings, ports: Ports, data: Path) -> None:
        self._settings = settings
        self._ports = ports
        self._data = data
        self._root = project_root()

    def workers(self) -> list[Part]:
        """Gateway, edge and functions: what must stand before events flow."""
        return [self._edge(), *(self._stage(stage) for stage in STAGES), self._gateway()]

    def source(self) -> Part:
        """The source that feeds all stages."""
        routes = ",".join(f"{stage}=http://127.0.0.1:{port}/" for stage, port in self._ports.stages.items())
        told = {
            SOURCE_ROUTES.variable: routes,
            SOURCE_HEALTH_HOST.variable: "127.0.0.1",
            SOURCE_HEALTH_PORT.variable: str(self._ports.source_health),
        }
        return self._part("nats-source", ["-m", "nats_source"], told, self._ports.source_health, "/healthz")

    def _gateway(self) -> Part:
        host, port = self._settings[API_HOST], self._settings[API_PORT]
        return self._part(
            "api-gateway",
            ["-m", "api_gateway"],
            {},
            port,
            host="127.0.0.1" if host in ("0.0.0.0", "") else host,  # noqa: S104 - compared, not bound
        )

    def _edge(self) -> Part:
        told = {
            EDGE_ADDRESS.variable: f"127.0.0.1:{self._ports.edge}",
            EDGE_JOURNAL.variable: str(self._data / "edge" / "journal.sqlite"),
        }
        (self._data / "edge").mkdir(mode=0o700, exist_ok=True)
        return self._part("edge-smtp", ["-m", "edge_smtp"], told, self._ports.edge)

    def _stage(self, stage: str) -> Part:
        port = self._ports.stages[stage]
        told = {
            "FUNCTION_SOURCE": str(self._root / "functions" / stage / "main.py"),
            "FUNCTION_TARGET": stage,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            EDGE_TARGETS.variable: f"{self._settings[EDGE_NAME]}=127.0.0.1:{self._ports.edge}",
        }
        return self._part(stage, ["-m", "kannon.runtime.serve"], told, port, "/")

    def _part(
        self,
        name: str,
        arguments: list[str],
        told: Mapping[str, str],
        port: int,
        path: str = "",
        host: str = "127.0.0.1",
    ) -> Part:
        async def ready() -> bool:
            return await (answers_http(port, path) if path else accepts_connections(port, host=host))

        return Part(
            name=name,
            argv=[sys.executable, *arguments],
            env={**self._environment(name), **told},
            ready=ready,
        )

    def _environment(self, name: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("K_")}
        secrets = {setting.variable: self._settings[setting] for setting in _SECRETS.get(name, (NATS_URL,))}
        keys = {
            SETTING_OF[purpose].variable: encode_key(key_for(self._settings, purpose))
            for purpose in _KEYS[name]
        }
        path = os.pathsep.join(filter(None, (str(self._root), os.environ.get("PYTHONPATH"))))
        # The file was read here already; a part is told by variables, and only what concerns it.
        own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "K_CONFIG": os.devnull}
        return inherited | dict(self._settings.written()) | secrets | keys | own
