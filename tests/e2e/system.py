"""A whole Kannon for a test: `kannon standalone` as a user starts it, and an application that calls it."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from kannon.adapters.pb import (
    admin_pb2,
    admin_pb2_grpc,
    mailer_pb2,
    mailer_pb2_grpc,
    stats_v1_pb2,
    stats_v1_pb2_grpc,
    types_pb2,
)
from kannon.cli.standalone.listening import free_port
from tests.commands import kannon

ROOT = Path(__file__).parents[2]
ENDED = ("delivered", "bounced", "failed", "rejected")


def wait_until(condition: Callable[[], Any], within: float, what: str = "") -> Any:
    """Poll `condition` until it is true, and give what it returned."""
    deadline = time.monotonic() + within
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or condition}")
        time.sleep(0.02)


@dataclass
class Tenant:
    """A sending domain with a key."""

    system: "System"
    domain: str
    public_key: str
    key: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        credentials = base64.b64encode(f"{self.domain}:{self.key}".encode()).decode()
        return (("authorization", f"Basic {credentials}"),)

    def send(
        self,
        recipients: Iterable[str | tuple[str, Mapping[str, str]] | types_pb2.Recipient],
        *,
        ignore_suppression: bool = False,
        **changes: Any,
    ) -> Any:
        """Send one Batch; recipients are addresses, addresses with fields, or as the API has them."""
        given: dict[str, Any] = {
            "sender": types_pb2.Sender(email=f"hello@{self.domain}", alias="Häppy Sender"),
            "subject": "Hello {{ name }}",
            "html": "<p>Dear {{ name }}, a &amp; b.</p>",
            "global_fields": {"name": "friend"},
            "recipients": [_recipient(one, ignore_suppression) for one in recipients],
        }
        request = mailer_pb2.SendHTMLReq(**(given | changes))
        stub = mailer_pb2_grpc.MailerStub(self.system.channel)  # type: ignore[arg-type]
        return stub.SendHTML(request, metadata=self.metadata, timeout=30)

    def counts(self) -> Counter[str]:
        """Outcomes by type, from the aggregates."""
        request = stats_v1_pb2.GetStatsAggregatedReq(domain=self.domain)
        self._span(request)
        stub = stats_v1_pb2_grpc.StatsApiV1Stub(self.system.channel)  # type: ignore[arg-type]
        answer: Any = stub.GetStatsAggregated(request, metadata=self.system.admin, timeout=10)
        counts: Counter[str] = Counter()
        for row in answer.stats:
            counts[row.type] += row.count
        return counts

    def outcomes(self) -> list[Any]:
        """Every Outcome, from the rows, all pages of them."""
        stub = stats_v1_pb2_grpc.StatsApiV1Stub(self.system.channel)  # type: ignore[arg-type]
        rows: list[Any] = []
        while True:
            request = stats_v1_pb2.GetStatsReq(domain=self.domain, skip=len(rows), take=100)
            self._span(request)
            answer: Any = stub.GetStats(request, metadata=self.system.admin, timeout=10)
            rows.extend(answer.stats)
            if len(rows) >= answer.total or not answer.stats:
                return rows

    def wait_for_end(self, count: int, within: float = 60.0) -> Counter[str]:
        """Wait until `count` Deliveries have their final Outcome."""

        def ended() -> Counter[str] | None:
            try:
                counts = self.counts()
            except grpc.RpcError:
                return None  # the gateway is just being restarted
            return counts if sum(counts[kind] for kind in ENDED) >= count else None

        try:
            found: Counter[str] = wait_until(ended, within)
        except AssertionError:
            raise AssertionError(f"not {count} ended within {within:g} s: {self.counts()}") from None
        return found

    def _span(self, request: Any) -> None:
        now = datetime.now(UTC)
        request.from_date.FromDatetime(now - timedelta(hours=2))
        request.to_date.FromDatetime(now + timedelta(hours=2))


def _recipient(
    given: str | tuple[str, Mapping[str, str]] | types_pb2.Recipient, ignore_suppression: bool
) -> types_pb2.Recipient:
    if isinstance(given, types_pb2.Recipient):
        return given
    email, fields = given if isinstance(given, tuple) else (given, {})
    return types_pb2.Recipient(email=email, fields=fields, ignore_suppression=ignore_suppression)


@dataclass
class System:
    """`kannon standalone` in a process of its own."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = free_port()
        self._tenants = 0

    def start(self) -> "System":
        own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
        told = {
            "K_CONFIG": os.devnull,
            "K_DATA_FOLDER": str(self.folder / "data"),
            "K_API_PORT": str(self.port),
            "K_SENDER_HOSTNAME": "mail.sender.test",
            "K_SENDER_ALLOW_NETWORKS": "127.0.0.0/8",
            "K_SENDER_RETRY_BASE": "250ms",
            "K_SENDER_RETRY_MIN": "500ms",
            "K_TICK_EVERY": "300ms",
        }
        self._output = (self.folder / "standalone.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kannon.cli", "standalone"],
            env=own | told | dict(self.settings),
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until(self._is_up, 60, "the standalone is up")
        self.token = (self.folder / "data" / "admin_token").read_text().strip()
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}", options=[("grpc.max_reconnect_backoff_ms", 500)]
        )
        return self

    def stop(self) -> int:
        """Ask it to stop, as Ctrl-C does; gives its exit code."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
            self._output.close()

    @property
    def admin(self) -> tuple[tuple[str, str], ...]:
        return (("x-kannon-admin-token", self.token),)

    @property
    def api(self) -> str:
        return f"127.0.0.1:{self.port}"

    def tenant(self) -> Tenant:
        """A new sending domain."""
        self._tenants += 1
        domain = f"t{self._tenants}-{self.port}.sender.test"
        api: Any = admin_pb2_grpc.ApiStub(self.channel)  # type: ignore[arg-type]
        made = api.CreateDomain(admin_pb2.CreateDomainRequest(domain=domain), metadata=self.admin, timeout=20)
        key = api.CreateAPIKey(
            admin_pb2.CreateAPIKeyRequest(domain=domain, name="test"), metadata=self.admin, timeout=20
        )
        return Tenant(self, domain, made.dkim_pub_key, key.key)

    def pids(self) -> dict[str, int]:
        """Process ids of the parts, as the kernel knows them."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        return {name: pid for pid in children if (name := _name_of(pid))}

    def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Kill a part; gives the process id it had."""
        pid: int = wait_until(lambda: self.pids().get(part), 20, f"{part} runs")
        os.kill(pid, number)
        return pid

    def wait_for_end(self, pid: int, within: float) -> None:
        """Wait until a process is gone."""
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), within, f"process {pid} ends")

    def wait_for_restart(self, part: str, old: int, within: float = 30.0) -> None:
        """Wait until a part that died runs again."""
        wait_until(lambda: self.pids().get(part, old) != old, within, f"{part} runs again")

    def wait_until_at_rest(self, within: float = 60.0) -> None:
        """Wait until no stage's stream and no edge holds anything: then all that was published is written."""
        # The look is not taken at one moment, and what left the edge just then may be in a stream again.
        wait_until(lambda: self._is_at_rest() and self._is_at_rest(), within, "nothing is on its way")

    def logs(self, part: str) -> list[dict[str, Any]]:
        """What a part logged."""
        lines = (self.folder / "data" / "logs" / f"{part}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _is_at_rest(self) -> bool:
        done = kannon("doctor", "--api", self.api, "--admin-token", self.token, "--json")
        found = json.loads(done.out)
        streams = [stream for stream in found["streams"]["streams"] if stream["stage"]]
        assert streams, done.out
        assert found["edges"], done.out
        return not any(stream["messages"] for stream in streams) and not any(
            edge["held"] or edge["unpublished"] for edge in found["edges"]
        )

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "standalone.log").read_text()[-4000:])
        return b"Ctrl-C" in (self.folder / "standalone.log").read_bytes()


def _name_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:
        return ""
    named = dict(variable.partition("=")[::2] for variable in variables)
    if {"kannon.runtime.serve", "kannon.runtime.serve_public"} & set(words):
        return named.get("FUNCTION_TARGET", "")
    modules = {"api_gateway": "api-gateway", "edge_smtp": "edge-smtp", "nats_source": "nats-source"}
    for module, name in modules.items():
        if module in words:
            return name
    program = Path(words[0]).name if words else ""
    return {"postgres": "postgres", "nats-server": "nats"}.get(program, "")


def without_pixel(html: str) -> str:
    """The HTML of a tracked mail without its pixel, of which it has one."""
    html, pixels = re.subn(r'<img src="https://stats\.[^/"]+/o/[\w.-]+" [^>]*>', "", html)
    assert pixels == 1
    return html
