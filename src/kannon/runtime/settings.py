"""Settings: one table of what there is; a YAML file, `K_*` variables and flags give the values.

A flag wins over a variable, a variable over the file, the file over the default. Unknown keys stop the start.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

import yaml

from kannon.core.errors import KannonError
from kannon.core.exchangers import parse_networks, parse_routes

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SettingsError(KannonError):
    """A setting is unknown, missing or malformed; the text names key and variable."""


def _text(value: str) -> str:
    return value


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"a URL that begins with {schemes[0]}:// is needed")
        return value

    return parse


def _postgresql(value: str) -> str:
    _url("postgresql", "postgres")(value)
    try:
        urlsplit(value).port  # noqa: B018 - parsing is what is tested
    except ValueError:
        raise ValueError("a URL like postgresql://user:password@host:5432/name is needed") from None
    return value


def _flag(value: str) -> bool:
    if value.lower() in ("true", "1", "yes", "on"):
        return True
    if value.lower() in ("false", "0", "no", "off", ""):
        return False
    raise ValueError("true or false is needed")


def _port(value: str) -> int:
    number = int(value) if value.isdecimal() else -1
    if not 0 <= number < 65536:
        raise ValueError("a port from 0 to 65535 is needed")
    return number


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f.:]+\]", value):
        raise ValueError("a host name in ASCII is needed")
    return value


def _factor(value: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value) > 0:
        raise ValueError("a number above 0 is needed")
    return float(value)


def _whole(value: str) -> int:
    if not value.isdecimal():
        raise ValueError("a whole number from 0 is needed")
    return int(value)


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("a whole number from 1 is needed")
    return int(value)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(value: str) -> timedelta:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("a duration like 10s, 500ms, 2m or 1h30m is needed")
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("a shorter duration is needed") from None


def _size(value: str) -> int:
    match = re.fullmatch(r"(\d+)\s*(b|kb|mb|gb)?", value.lower())
    if not match:
        raise ValueError("a size like 1024kb or 32mb is needed")
    return int(match[1]) * {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}[match[2] or "b"]


def _address(value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("an address like :25 or 127.0.0.1:2525 is needed")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":25" means every interface


def _addresses(value: str) -> tuple[tuple[str, int], ...]:
    found = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        host, port = _address(part if ":" in part else f"{part}:53")
        found.append((host, port))
    return tuple(found)


def _named_targets(value: str) -> Mapping[str, str]:
    targets: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in value.split(","))):
        name, equals, target = entry.partition("=")
        if not (equals and name.strip() and target.strip()):
            raise ValueError(f"{entry!r} is not of the form name=target")
        targets[name.strip()] = target.strip()
    return targets


@dataclass(frozen=True, slots=True)
class Setting(Generic[T_co]):
    """One setting.

    Attributes:
        key: its name in the file; its variable is `K_` and the key in capitals with `_` for `.` and `-`.
        default: as one would write it in the file; None where there is none.
        secret: never shown and never logged.
    """

    key: str
    parse: Callable[[str], T_co]
    default: str | None
    help: str
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that gives it."""
        return "K_" + re.sub(r"[.-]", "_", self.key).upper()


DATABASE_URL = Setting(
    "database_url", _postgresql, None, "PostgreSQL, as a URL; embedded in standalone", True
)
NATS_URL = Setting(
    "nats_url",
    _url("nats", "tls", "ws", "wss"),
    None,
    "NATS with JetStream, as a URL; embedded in standalone",
    True,
)
DEBUG = Setting("debug", _flag, "false", "log more")
SECRET = Setting("secret", _text, None, "installation secret, from which every part's keys are derived", True)
KEY_EVENTS = Setting("keys.events", _text, None, "key that signs events between stages", True)
KEY_ENVELOPES = Setting("keys.envelopes", _text, None, "key that seals Envelopes", True)
KEY_RETURN_PATHS = Setting("keys.return-paths", _text, None, "key that signs return paths", True)
KEY_DKIM_KEYS = Setting("keys.dkim-keys", _text, None, "key under which DKIM keys are stored", True)
DATA_FOLDER = Setting("data_folder", _text, "", "where standalone keeps what is its own")

API_PORT = Setting("api.port", _port, "50051", "where the gateway listens")
API_HOST = Setting("api.host", _text, "0.0.0.0", "the address on which the gateway listens")  # noqa: S104
API_ADMIN_TOKEN = Setting("api.admin_token", _text, None, "token of Api and Stats calls", True)
API_MAX_MESSAGE = Setting("api.max_message", _size, "32mb", "largest call")

SENDER_HOSTNAME = Setting("sender.hostname", _host_name, None, "name given in EHLO; its PTR should agree")
SENDER_MAX_JOBS = Setting("sender.max_jobs", _count, "10", "transmissions at once")
SENDER_MAX_PER_EXCHANGER = Setting("sender.max_per_exchanger", _count, "10", "connections to one exchanger")
SENDER_DEMO_SENDER = Setting(
    "sender.demo_sender", _flag, "false", "no SMTP; `error` in an address is refused"
)
SENDER_ROUTES = Setting("sender.routes", parse_routes, "", "domain=host:port,…; * for all: instead of the MX")
SENDER_ALLOW_NETWORKS = Setting(
    "sender.allow_networks", parse_networks, "", "networks allowed for exchangers though not public"
)
SENDER_MAX_AMBIGUOUS = Setting(
    "sender.max_ambiguous", _whole, "1", "repeats of a transmission that ended after the dot without reply"
)
SENDER_RETRY_MIN = Setting("sender.retry.min", _duration, "5m", "wait before a deferred Delivery is retried")
SENDER_RETRY_BUDGET = Setting("sender.retry.budget", _duration, "24h", "span in which a Delivery is tried")
SENDER_CONNECT_TIMEOUT = Setting("sender.connect_timeout", _duration, "30s", "to connect to one address")
SENDER_TIMEOUT_SCALE = Setting(
    "sender.timeout_scale", _factor, "1", "factor on the timeouts of RFC 5321 §4.5.3.2, for tests"
)
DNS_SERVERS = Setting("dns.servers", _addresses, "", "host:port,… instead of the system's resolvers")

EDGE_NAME = Setting("edge.name", _text, "edge-0", "this edge's name, as Deliveries are pinned to it")
EDGE_ADDRESS = Setting("edge.address", _address, ":50052", "where an edge takes Envelopes")
EDGE_TARGETS = Setting("edge.targets", _named_targets, "", "name=host:port,… of the edges there are")
EDGE_CAPACITY = Setting("edge.capacity", _count, "20000", "Envelopes that an edge holds at the most")
EDGE_JOURNAL = Setting("edge.journal", _text, None, "file of the edge's journal")

DISPATCH_IN_HAND = Setting("dispatch.in_hand", _count, "20000", "Deliveries in `sending` at the most")
DISPATCH_LEASE = Setting("dispatch.lease", _duration, "15m", "after this without result, emitted again")
TICK_EVERY = Setting("tick.every", _duration, "1s", "standalone's timer")
STREAM_REPLICAS = Setting("nats.replicas", _count, "1", "replicas of each stream")

SOURCE_ROUTES = Setting("source.routes", _named_targets, "", "stage=URL,… that a nats-source feeds")
SOURCE_ROUTE = Setting("source.route", _text, "", "stage that a SinkBinding's K_SINK is for")
SOURCE_CONCURRENCY = Setting("source.concurrency", _count, "4", "requests at once for each route")
SOURCE_TIMEOUT = Setting("source.timeout", _duration, "10m", "longest request, a cold start included")
SOURCE_CONNECT_TIMEOUT = Setting("source.connect_timeout", _duration, "5s", "to connect to a function")
SOURCE_HEALTH_HOST = Setting(
    "source.health_host",
    _text,
    "0.0.0.0",  # noqa: S104 - a container's address is its own
    "the address on which /healthz listens",
)
SOURCE_HEALTH_PORT = Setting("source.health_port", _port, "0", "port of /healthz; 0 for none")

ALL: Mapping[str, Setting[Any]] = {
    value.key: value for value in list(globals().values()) if isinstance(value, Setting)
}
# What Knative puts into the environment of its services and of what a SinkBinding binds.
_KNATIVE = (
    "CONFIG SERVICE REVISION CONFIGURATION SINK CE_OVERRIDES CA_CERTS AUDIENCE OIDC_TOKEN_FILE "
    "LOGGING_CONFIG METRICS_CONFIG TRACING_CONFIG OBSERVABILITY_CONFIG LEADER_ELECTION_CONFIG INSTALL_ID"
)
_NOT_OURS = frozenset(f"K_{name}" for name in _KNATIVE.split())
DEFAULT_FILE = Path("~/.kannon.yaml")


@dataclass(frozen=True, slots=True)
class _Given:
    value: str
    source: str


class Settings:
    """The settings of this process.

    Args:
        given: values as written, by key, and where each came from.
    """

    def __init__(self, given: Mapping[str, _Given]) -> None:
        self._given = dict(given)

    @classmethod
    def load(
        cls,
        flags: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> "Settings":
        """Read file, environment and flags.

        Args:
            flags: values by key.
            environment: instead of the process's own.
            file: instead of `K_CONFIG` or ~/.kannon.yaml; one that is named must exist.

        Raises:
            SettingsError: an unknown key or variable, a file that cannot be read.
        """
        environment = os.environ if environment is None else environment
        named = file or (Path(environment["K_CONFIG"]) if environment.get("K_CONFIG") else None)
        given: dict[str, _Given] = {}
        for key, value in _read_file(named).items():
            given[key] = _Given(value, f"file {named or DEFAULT_FILE}")
        variables = {setting.variable: setting.key for setting in ALL.values()}
        for name, value in environment.items():
            if name in variables:
                given[variables[name]] = _Given(value, f"variable {name}")
            elif name.startswith("K_") and name not in _NOT_OURS:
                raise SettingsError(f"variable {name}: there is no such setting")
        for key, value in (flags or {}).items():
            _known(key, "flags")
            given[key] = _Given(value, f"flag --{key}")
        return cls(given)

    def __getitem__(self, setting: Setting[T]) -> T:
        """The value; the default where nothing is given.

        Raises:
            SettingsError: it is required and missing, or malformed.
        """
        given = self._given.get(setting.key)
        written = given.value if given else setting.default
        if written is None:
            raise SettingsError(f"{setting.key} ({setting.variable}) is required: {setting.help}")
        try:
            return setting.parse(written)
        except ValueError as error:
            shown = "" if setting.secret else f" {written!r}:"
            raise SettingsError(f"{setting.key} ({setting.variable}):{shown} {error}") from None

    def get(self, setting: Setting[T]) -> T | None:
        """The value, or None where nothing is given and there is no default."""
        return self[setting] if setting.key in self._given or setting.default is not None else None

    def with_defaults(self, values: Mapping[Setting[Any], str]) -> "Settings":
        """The same settings, with these values where nothing is given."""
        made = {setting.key: _Given(value, "made at the start") for setting, value in values.items()}
        return Settings(made | self._given)

    def written(self) -> Mapping[str, str]:
        """What is given for settings that are no secrets, by their variables, as other processes take it."""
        return {ALL[key].variable: given.value for key, given in self._given.items() if not ALL[key].secret}

    def check(self) -> None:
        """Parse all that is given or has a default; raises SettingsError for the first that is malformed."""
        for setting in ALL.values():
            self.get(setting)

    def source(self, setting: Setting[Any]) -> str:
        """Where its value came from."""
        given = self._given.get(setting.key)
        return given.source if given else "default"


def _known(key: str, where: str) -> None:
    if key not in ALL:
        raise SettingsError(f"{where}: there is no setting {key!r}")


def _read_file(named: Path | None) -> dict[str, str]:
    path = (named or DEFAULT_FILE).expanduser()
    if named is None and not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"config (K_CONFIG): cannot read {path}{where}: {type(error).__name__}") from None
    if not isinstance(content, dict | None):
        raise SettingsError(f"config (K_CONFIG): {path} must hold keys and values")
    pairs = _flatten(cast("dict[str, object]", content or {}))
    for key, count in Counter(key for key, _ in pairs).items():
        _known(key, str(path))
        if count > 1:
            raise SettingsError(f"{path}: {key!r} stands there twice")
    return dict(pairs)


def _flatten(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            found.extend(_flatten(value, f"{key}."))
        elif isinstance(value, bool):
            found.append((key, "true" if value else "false"))
        else:
            found.append((key, "" if value is None else str(value)))
    return found
