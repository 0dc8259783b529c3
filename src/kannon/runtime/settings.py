"""Settings: one table of what there is; a YAML file, `K_*` variables and flags give the values.

A flag wins over a variable, a variable over the file, the file over the default. An empty value counts as not
given, wherever it stands. Unknown keys stop the start.
"""

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from kannon.core.envelopes import MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES
from kannon.core.errors import KannonError
from kannon.core.exchangers import parse_networks, parse_routes
from kannon.core.failpoints import parse_failpoints
from kannon.core.keys import KEY_BYTES, MIN_SECRET_BYTES
from kannon.core.payloads import MAX_REPORT_RECIPIENTS
from kannon.runtime.masking import masked_url

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SettingsError(KannonError):
    """A setting is unknown, missing or malformed; the text names key and variable."""


def _text(value: str) -> str:
    return value


def _secret(value: str) -> str:
    if len(value.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"at least {MIN_SECRET_BYTES} bytes are needed")
    return value


def _key(value: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(value)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"{KEY_BYTES} bytes in URL-safe base64 are needed, as `kannon keys` prints them")
    return key


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
    if value.lower() in ("false", "0", "no", "off"):
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


def _ratio(value: str) -> float:
    if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", value):
        raise ValueError("a number from 0 to 1 is needed")
    return float(value)


def _collector(value: str) -> str:
    return _url("http", "https")(value) if value else value


def _whole(value: str) -> int:
    if not value.isdecimal():
        raise ValueError("a whole number from 0 is needed")
    return int(value)


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("a whole number from 1 is needed")
    return int(value)


def _limit(value: str) -> int:
    if not value.isdecimal() or int(value) >= 2**32:
        raise ValueError("a whole number from 0 to 4294967295 is needed")
    return int(value)


def _recipients(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= MAX_REPORT_RECIPIENTS:
        raise ValueError(f"a whole number from 1 to {MAX_REPORT_RECIPIENTS} is needed")
    return int(value)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(value: str) -> timedelta:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("a duration like 10s, 500ms, 2m or 1h30m is needed")
    try:
        duration = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("a shorter duration is needed") from None
    if not duration:
        raise ValueError("a duration above 0 is needed")
    return duration


def _lasting(value: str) -> timedelta | None:
    return None if value == "never" else _duration(value)


def _size(value: str) -> int:
    match = re.fullmatch(r"(\d+)\s*(b|kb|mb|gb)?", value.lower())
    if not match or not int(match[1]):
        raise ValueError("a size like 1024kb or 32mb is needed")
    return int(match[1]) * {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}[match[2] or "b"]


def _message_size(value: str) -> int:
    octets = _size(value)
    if not MAX_CHUNK_BYTES <= octets <= MAX_MESSAGE_BYTES:
        raise ValueError(f"a size from {MAX_CHUNK_BYTES}b to {MAX_MESSAGE_BYTES // 1024**2}mb is needed")
    return octets


def _store(value: str) -> str:
    parts = urlsplit(value)
    is_folder = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    is_bucket = parts.scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc)
    if not (is_folder or is_bucket) or parts.query or parts.fragment:
        raise ValueError("a URL like s3://bucket/prefix or file:///folder is needed")
    return value


def _issuer(value: str) -> str:
    if not value:
        return ""
    parts = urlsplit(value)
    is_here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not (parts.scheme == "https" or is_here) or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL like https://issuer.example is needed")
    return value


def _address(value: str) -> tuple[str, int]:
    match = re.fullmatch(r"([\w.-]*|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", value, re.ASCII)
    if not match or int(match[2]) > 65535:
        raise ValueError("an address like :25 or 127.0.0.1:2525 is needed")
    return match[1].strip("[]") or "0.0.0.0", int(match[2])  # noqa: S104 - ":25" means every interface


def _addresses(value: str) -> tuple[tuple[str, int], ...]:
    found = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        host, port = _address(part if ":" in part else f"{part}:53")
        found.append((host, port))
    return tuple(found)


def _domains(value: str) -> tuple[str, ...]:
    return tuple(_host_name(part.strip()) for part in value.split(",") if part.strip())


def _origins(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    for origin in found:
        if origin != "*" and not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?", origin, re.ASCII):
            raise ValueError(f"{origin!r}: an origin like https://app.example.com is needed, or *")
    return found


def _mail_addresses(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    for address in found:
        if not re.fullmatch(r"[^@\s<>\"]{1,64}@[A-Za-z0-9.-]{1,253}", address, re.ASCII):
            raise ValueError(f"{address!r}: an address like reports@example.com is needed")
    return found


def _named_targets(value: str) -> Mapping[str, str]:
    targets: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in value.split(","))):
        name, equals, target = entry.partition("=")
        if not (equals and name.strip() and target.strip()):
            raise ValueError(f"{entry!r} is not of the form name=target")
        if name.strip() in targets:
            raise ValueError(f"{name.strip()!r} stands there twice")
        targets[name.strip()] = target.strip()
    return targets


def _edge_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,63}", value, re.ASCII):
        raise ValueError("1 to 63 letters, digits, -, _ and . are needed")
    return value


def _edges(value: str) -> Mapping[str, str]:
    targets = _named_targets(value)
    for name, target in targets.items():
        _edge_name(name)
        if target.startswith(":") or _address(target)[1] == 0:
            raise ValueError(f"{target!r}: host and port of an edge are needed")
    return targets


@dataclass(frozen=True, slots=True)
class Setting(Generic[T_co]):
    """One setting.

    Attributes:
        key: its name in the file; its variable is `K_` and the key in capitals with `_` for `.` and `-`.
        default: as one would write it in the file; None where there is none.
        secret: never shown and never logged.
        is_url: what is secret in it is its user, password and parameters; the rest may be shown.
    """

    key: str
    parse: Callable[[str], T_co]
    default: str | None
    help: str
    secret: bool = False
    is_url: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that gives it."""
        return "K_" + re.sub(r"[.-]", "_", self.key).upper()

    @property
    def group(self) -> str:
        """Under which heading it is shown."""
        first = re.split(r"[.-]", self.key)[0]
        return next((title for title, firsts in GROUPS.items() if first in firsts), first.capitalize())

    @property
    def is_switch(self) -> bool:
        """Whether it is either true or false."""
        return self.parse is _flag

    def shown(self, written: str) -> str:
        """A value as people may see it."""
        if not self.secret:
            return written
        return masked_url(written) if self.is_url else "set"


GROUPS: Mapping[str, tuple[str, ...]] = {
    "Components": ("run",),
    "Servers and secrets": (
        "config",
        "database_url",
        "nats_url",
        "nats",
        "secret",
        "keys",
        "data_folder",
        "debug",
    ),
    "Gateway": ("api", "limits", "audit"),
    "Sending": ("sender", "dns"),
    "Dispatch, tick and edge": ("dispatch", "tick", "edge", "stats"),
    "Events": ("events",),
    "Tracking": ("track",),
    "Webhooks": ("webhooks",),
    "Suppression": ("suppression",),
    "Attachments": ("attachments",),
    "Source": ("source",),
    "Taking reports": ("smtp",),
    "Telemetry": ("metrics", "traces"),
    "Fault tests": ("test",),
}
"""Headings, and the first words of the keys that stand under each."""


RUN_API = Setting("run-api", _flag, "false", "run the gateway")
RUN_SMTP = Setting("run-smtp", _flag, "false", "run the edge, which speaks SMTP")
RUN_SENDER = Setting("run-sender", _flag, "false", "run send, which hands Envelopes to edges")
RUN_DISPATCHER = Setting("run-dispatcher", _flag, "false", "run dispatch, and the timer that wakes it")
RUN_VERIFIER = Setting("run-verifier", _flag, "false", "run verify, which judges Recipients")
RUN_BOUNCE = Setting("run-bounce", _flag, "false", "run bounce, which judges refusals")
RUN_STATS = Setting("run-stats", _flag, "false", "run stats, which writes results down")
RUN_EVENTS = Setting("run-events", _flag, "false", "run events, which posts outcomes to events.sink")
RUN_TRACK = Setting("run-track", _flag, "false", "run track, which readers' pixels and links lead to")
RUN_WEBHOOKS = Setting("run-webhooks", _flag, "false", "run webhooks, which tells endpoints of Domains")

CONFIG = Setting("config", _text, "~/.kannon.yaml", "the file with settings")
DATABASE_URL = Setting(
    "database_url", _postgresql, None, "PostgreSQL, as a URL; embedded in standalone", True, is_url=True
)
NATS_URL = Setting(
    "nats_url",
    _url("nats", "tls", "ws", "wss"),
    None,
    "NATS with JetStream, as a URL; embedded in standalone",
    True,
    is_url=True,
)
DEBUG = Setting("debug", _flag, "false", "log more")
SECRET = Setting(
    "secret", _secret, None, "installation secret, from which every part's keys are derived", True
)
KEY_EVENTS = Setting("keys.events", _key, None, "key that signs events between stages", True)
KEY_ENVELOPES = Setting("keys.envelopes", _key, None, "key that seals Envelopes", True)
KEY_RETURN_PATHS = Setting("keys.return-paths", _key, None, "key that signs return paths", True)
KEY_DKIM_KEYS = Setting("keys.dkim-keys", _key, None, "key under which DKIM keys are stored", True)
KEY_TRACKING_KEYS = Setting(
    "keys.tracking-keys", _key, None, "key under which the keys of tracking tokens are stored", True
)
KEY_WEBHOOK_SECRETS = Setting(
    "keys.webhook-secrets", _key, None, "key under which the secrets of webhooks are stored", True
)
DATA_FOLDER = Setting("data_folder", _text, "", "where standalone keeps what is its own")

API_PORT = Setting("api.port", _port, "50051", "where the gateway listens")
API_HOST = Setting("api.host", _text, "0.0.0.0", "the address on which the gateway listens")  # noqa: S104
API_ADMIN_TOKEN = Setting("api.admin_token", _text, None, "token that may call everything", True)
API_SECOND_ADMIN_TOKEN = Setting(
    "api.second_admin_token", _text, "", "another one that is taken, while the first is replaced", True
)
API_CORS_ORIGINS = Setting(
    "api.cors_origins", _origins, "", "pages whose scripts may call the gateway (CORS), or * for all"
)
API_MAX_MESSAGE = Setting("api.max_message", _size, "32mb", "largest call")

EVENTS_AUDIENCE = Setting(
    "events.audience", _text, "", "take OIDC tokens for this audience at /events, beside API keys"
)
EVENTS_ISSUER = Setting("events.issuer", _issuer, "", "who issues these tokens: a URL, as in their `iss`")
EVENTS_SUBJECTS = Setting(
    "events.subjects", _named_targets, "", "subject=domain,… that the bearers of these tokens send for"
)
EVENTS_REQUESTS = Setting(
    "events.requests", _flag, "false", "take requests to send by NATS, from kannon.v1.requests.<domain>"
)

LIMITS_MAILS_PER_MINUTE = Setting(
    "limits.mails_per_minute", _limit, "0", "mails that a domain may send a minute; 0: any number"
)
LIMITS_MAILS_PER_DAY = Setting(
    "limits.mails_per_day", _limit, "0", "mails that a domain may send a day, UTC; 0: any number"
)
LIMITS_RECIPIENTS_PER_CALL = Setting(
    "limits.recipients_per_call", _limit, "0", "recipients that a call may have; 0: as many as any may"
)
AUDIT_ENABLED = Setting("audit.enabled", _flag, "false", "record who called what, and who was not let in")
AUDIT_RETENTION = Setting("audit.retention", _duration, "720h", "how long such records are kept")

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
SENDER_RETRY_BASE = Setting(
    "sender.retry.base",
    _duration,
    "2m",
    "doubled with each Attempt to the wait before the next; greylisting's first",
)
SENDER_RETRY_MIN = Setting("sender.retry.min", _duration, "5m", "shortest wait of a deferred Delivery")
SENDER_RETRY_MAX = Setting("sender.retry.max", _duration, "4h", "longest wait of a deferred Delivery")
SENDER_RETRY_BUDGET = Setting("sender.retry.budget", _duration, "24h", "span in which a Delivery is tried")
SENDER_SUSPEND_FIRST = Setting(
    "sender.suspend.first",
    _duration,
    "10s",
    "how long an exchanger that failed again and again is left alone",
)
SENDER_SUSPEND_MAX = Setting(
    "sender.suspend.max", _duration, "30m", "the longest of these; each is twice as long as the last"
)
SENDER_CONNECT_TIMEOUT = Setting("sender.connect_timeout", _duration, "30s", "to connect to one address")
SENDER_TIMEOUT_SCALE = Setting(
    "sender.timeout_scale", _factor, "1", "factor on the timeouts of RFC 5321 §4.5.3.2, for tests"
)
DNS_SERVERS = Setting("dns.servers", _addresses, "", "host:port,… instead of the system's resolvers")

EDGE_NAME = Setting("edge.name", _edge_name, "edge-0", "this edge's name, as Deliveries are pinned to it")
EDGE_ADDRESS = Setting("edge.address", _address, ":50052", "where an edge takes Envelopes")
EDGE_TARGETS = Setting("edge.targets", _edges, "", "name=host:port,… of the edges there are")
EDGE_CAPACITY = Setting("edge.capacity", _count, "20000", "Envelopes that an edge holds at the most")
EDGE_JOURNAL_SIZE = Setting(
    "edge.journal_size", _size, "3gb", "what the journal fills of the disk, at the most"
)
EDGE_JOURNAL = Setting("edge.journal", _text, None, "file of the edge's journal")

DISPATCH_IN_HAND = Setting("dispatch.in_hand", _count, "20000", "Deliveries in `sending` at the most")
DISPATCH_LEASE = Setting("dispatch.lease", _duration, "15m", "after this without result, emitted again")
STATS_RETENTION = Setting(
    "stats.retention", _duration, "365d", "how long single Outcomes are kept; counts stay"
)
TICK_EVERY = Setting("tick.every", _duration, "1s", "standalone's timer")
STREAM_REPLICAS = Setting("nats.replicas", _count, "1", "replicas of each stream")

SUPPRESSION_HARD = Setting(
    "suppression.hard", _lasting, "365d", "how long a hard bounce suppresses; or never"
)
SUPPRESSION_COMPLAINT = Setting(
    "suppression.complaint", _lasting, "never", "when a complaint's suppression expires"
)
SUPPRESSION_UNSUBSCRIBE = Setting(
    "suppression.unsubscribe", _lasting, "never", "when the suppression of who unsubscribed expires"
)
SUPPRESSION_SOFT = Setting(
    "suppression.soft", _lasting, "30d", "how long many soft bounces suppress; or never"
)
SUPPRESSION_SOFT_AFTER = Setting(
    "suppression.soft_after", _whole, "5", "so many soft bounces suppress an address; 0: they never do"
)
SUPPRESSION_SOFT_WINDOW = Setting(
    "suppression.soft_window", _duration, "30d", "the time within which soft bounces are counted"
)

ATTACHMENTS_URL = Setting(
    "attachments.url",
    _store,
    None,
    "where attachments are kept, s3://bucket/prefix or file:///folder; in standalone a folder of its own",
)
ATTACHMENTS_ENDPOINT = Setting(
    "attachments.endpoint", _url("https", "http"), None, "URL of an S3 that is not Amazon's, such as MinIO"
)
ATTACHMENTS_REGION = Setting("attachments.region", _text, "", "region of the bucket")
ATTACHMENTS_ACCESS_KEY = Setting(
    "attachments.access_key",
    _text,
    "",
    "access key of S3; without one, credentials as Amazon's tools have them",
)
ATTACHMENTS_SECRET_KEY = Setting("attachments.secret_key", _text, "", "the secret that belongs to it", True)
ATTACHMENTS_MAX_SIZE = Setting("attachments.max_size", _size, "10mb", "largest attachment")
SENDER_MAX_MESSAGE = Setting(
    "sender.max_message", _message_size, "25mb", "largest mail as it is sent, attachments included"
)

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

EVENTS_SINK = Setting(
    "events.sink",
    _url("https", "http"),
    None,
    "where events posts outcomes to as CloudEvents, where no SinkBinding gives K_SINK",
    True,
    is_url=True,
)
EVENTS_CONCURRENCY = Setting("events.concurrency", _count, "16", "requests of events at once")
EVENTS_TIMEOUT = Setting("events.timeout", _duration, "10s", "longest request of events")

SMTP_ADDRESS = Setting("smtp.address", _address, ":25", "where reports of failure come in")
SMTP_DOMAIN = Setting("smtp.domain", _host_name, "localhost", "name given in the greeting")
SMTP_READ_TIMEOUT = Setting("smtp.read_timeout", _duration, "10s", "for a peer to say something")
SMTP_WRITE_TIMEOUT = Setting("smtp.write_timeout", _duration, "10s", "for a peer to take what is said")
SMTP_MAX_PAYLOAD = Setting("smtp.max_payload", _size, "1024kb", "largest report")
SMTP_MAX_RECIPIENTS = Setting("smtp.max_recipients", _recipients, "50", "recipients of a report at the most")
SMTP_MESSAGE_TIMEOUT = Setting("smtp.message_timeout", _duration, "2m", "for a whole report to come in")
SMTP_SESSION_TIMEOUT = Setting("smtp.session_timeout", _duration, "10m", "longest connection")
SMTP_MAX_CONNECTIONS = Setting("smtp.max_connections", _count, "100", "connections at once")
SMTP_MAX_PER_CLIENT = Setting("smtp.max_per_client", _count, "10", "connections at once from one address")
SMTP_MAX_ERRORS = Setting("smtp.max_errors", _count, "10", "refused commands of a connection")
SMTP_TLS_CERTIFICATE = Setting(
    "smtp.tls_certificate", _text, "", "PEM file with the certificate for STARTTLS, and its chain"
)
SMTP_TLS_KEY = Setting("smtp.tls_key", _text, "", "PEM file with its key")
SMTP_MAILBOX_DOMAINS = Setting(
    "smtp.mailbox_domains", _domains, "", "domains whose postmaster@ and abuse@ are taken, beside smtp.domain"
)
SMTP_FEEDBACK_ADDRESSES = Setting(
    "smtp.feedback_addresses", _mail_addresses, "", "addresses that feedback loops report to"
)
SMTP_UNSUBSCRIBING = Setting(
    "smtp.unsubscribing",
    _flag,
    "false",
    "take mail to unsub+<token>@<domain>, and name it in mails that offer the hosted unsubscribe",
)

TRACK_ADDRESS = Setting("track.address", _address, ":8080", "where pixels, links and unsubscriptions come in")
TRACK_TRUSTED_PROXIES = Setting(
    "track.trusted_proxies", parse_networks, "", "networks whose proxies are believed whom they ask for"
)

WEBHOOKS_ALLOW_NETWORKS = Setting(
    "webhooks.allow_networks",
    parse_networks,
    "",
    "networks allowed for webhooks though not public, and without TLS",
)
WEBHOOKS_TIMEOUT = Setting("webhooks.timeout", _duration, "15s", "for an endpoint to answer")
WEBHOOKS_SUSPEND_AFTER = Setting(
    "webhooks.suspend_after", _duration, "72h", "an endpoint that fails for so long is suspended"
)
WEBHOOKS_RETENTION = Setting("webhooks.retention", _duration, "7d", "how long the delivery log is kept")
METRICS_PORT = Setting("metrics.port", _port, "0", "port of /metrics of gateway, edge and source; 0 for none")
METRICS_HOST = Setting(
    "metrics.host",
    _text,
    "0.0.0.0",  # noqa: S104 - a container's address is its own
    "the address on which that port is",
)
TRACES_ENDPOINT = Setting(
    "traces.endpoint",
    _collector,
    "",
    "URL of a collector that spans are sent to by OTLP over HTTP; off without",
)
TRACES_RATIO = Setting("traces.ratio", _ratio, "1", "part of the traces begun here that is sampled, 0 to 1")

TEST_BUILD = Setting("test.build", _flag, "false", "this installation is a test: allow `test.failpoints`")
TEST_FAILPOINTS = Setting(
    "test.failpoints", parse_failpoints, "", "where a process breaks: point=kill@3 or point=step:-3600,…"
)

ALL: Mapping[str, Setting[Any]] = {
    value.key: value for value in list(globals().values()) if isinstance(value, Setting)
}
# What Knative puts into the environment of its services and of what a SinkBinding binds.
_KNATIVE = (
    "SERVICE REVISION CONFIGURATION SINK CE_OVERRIDES CA_CERTS AUDIENCE OIDC_TOKEN_FILE "
    "LOGGING_CONFIG METRICS_CONFIG TRACING_CONFIG OBSERVABILITY_CONFIG LEADER_ELECTION_CONFIG INSTALL_ID"
)
_NOT_OURS = frozenset(f"K_{name}" for name in _KNATIVE.split())


@dataclass(frozen=True, slots=True)
class _Given:
    value: str
    source: str


class Settings:
    """The settings of this process.

    Args:
        given: values as written, by key, and where each came from; none is empty.
    """

    def __init__(self, given: Mapping[str, _Given]) -> None:
        self._given = dict(given)

    @classmethod
    def load(
        cls, flags: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
    ) -> "Settings":
        """Read the file that `config` names, environment and flags.

        Args:
            flags: values by key.
            environment: instead of the process's own.

        Raises:
            SettingsError: an unknown key or variable, a file that cannot be read, or a file that is named and
                not there; failpoints outside of a test.
        """
        told = _from_environment(os.environ if environment is None else environment)
        told |= _from_flags(flags or {})
        named = told.get(CONFIG.key)
        path = Path(named.value if named else str(CONFIG.default))
        loaded = cls(_from_file(path, must_exist=named is not None) | told)
        loaded._refuse_failpoints_outside_tests()
        return loaded

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

    def _refuse_failpoints_outside_tests(self) -> None:
        if self.source(TEST_FAILPOINTS) != "default" and not self[TEST_BUILD]:
            raise SettingsError(
                f"{TEST_FAILPOINTS.key} ({TEST_FAILPOINTS.variable}) breaks processes: it is for tests, "
                f"which say so by {TEST_BUILD.key} ({TEST_BUILD.variable})"
            )

    def source(self, setting: Setting[Any]) -> str:
        """Where its value came from."""
        given = self._given.get(setting.key)
        return given.source if given else "default"

    def shown(self, setting: Setting[Any]) -> str | None:
        """Its value as it was written, without what is secret in it; None where there is none."""
        given = self._given.get(setting.key)
        return setting.shown(given.value) if given else setting.default


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    keys = {setting.variable: setting.key for setting in ALL.values()}
    given = {}
    for name, value in environment.items():
        if name in keys:
            given[keys[name]] = _Given(value, f"variable {name}")
        elif name.startswith("K_") and name not in _NOT_OURS:
            raise SettingsError(f"variable {name}: there is no such setting{_suggestion(name, keys)}")
    return _without_empty(given)


def _from_flags(flags: Mapping[str, str]) -> dict[str, _Given]:
    for key in flags:
        _check_known(key, "flags")
    return _without_empty({key: _Given(value, f"flag --{key}") for key, value in flags.items()})


def _from_file(named: Path, must_exist: bool) -> dict[str, _Given]:
    pairs = list(_read_pairs(named, must_exist))
    for key, count in Counter(key for key, _ in pairs).items():
        _check_known(key, str(named))
        if key == CONFIG.key:
            raise SettingsError(f"{named}: {key!r} cannot stand in the file itself")
        if count > 1:
            raise SettingsError(f"{named}: {key!r} stands there twice")
    return _without_empty({key: _Given(value, f"file {named}") for key, value in pairs})


def _without_empty(given: Mapping[str, _Given]) -> dict[str, _Given]:
    return {key: one for key, one in given.items() if one.value}


def _check_known(key: str, where: str) -> None:
    if key not in ALL:
        raise SettingsError(f"{where}: there is no setting {key!r}{_suggestion(key, ALL)}")


def _suggestion(word: str, known: Iterable[str]) -> str:
    import difflib  # only for who made a mistake

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _read_pairs(named: Path, must_exist: bool) -> Iterable[tuple[str, str]]:
    path = named
    try:
        path = named.expanduser()
        if not must_exist and not path.exists():
            return ()
        text = path.read_text()
    except (OSError, UnicodeError, RuntimeError) as error:
        raise SettingsError(f"config (K_CONFIG): cannot read {path}: {type(error).__name__}") from None
    if not text.strip():
        return ()
    from kannon.runtime.settings_file import NoSettings, read_pairs  # most processes have no file

    try:
        return [pair for pair in read_pairs(text) if not _is_empty_section(*pair)]
    except NoSettings as error:
        raise SettingsError(f"config (K_CONFIG): {path}{error}") from None


def _is_empty_section(key: str, value: str) -> bool:
    """Whether it is a heading beneath which nothing is left, as where all of it is commented out."""
    return not value and key not in ALL and any(known.startswith(f"{key}.") for known in ALL)
