"""`kannon run`: parts in process groups that know of each other by PostgreSQL, NATS and the edge alone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.nats import EmbeddedNats
from tests.e2e.system import ROOT, System, wait_until
from tests.smtp_peer import SmtpPeer

BEFORE_THE_WIRE = ("--run-api", "--run-verifier", "--run-dispatcher")
AFTER_IT = ("--run-sender", "--run-smtp", "--run-bounce", "--run-stats")
TOKEN = "a token of administrators"


class Group:
    """One `kannon run`."""

    def __init__(self, folder: Path, words: tuple[str, ...], variables: dict[str, str]) -> None:
        self.log = folder / f"group-{free_port()}.log"
        own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kannon.cli", "run", *words],
                env=own | variables,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def said_when_ready(self) -> str:
        """Its first line on standard output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-4000:]
        return line

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask it to stop; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


class Installation(System):
    """A database, a NATS and the groups that work with them; called as a standalone is."""

    def __init__(self, folder: Path, database: str, nats: str, sink: SmtpPeer) -> None:
        super().__init__(folder)
        self.token = TOKEN
        self.channel = grpc.insecure_channel(self.api)
        self.groups: list[Group] = []
        self.edge_port = free_port()
        self.reports_port = free_port()
        self.file = folder / "kannon.yaml"
        self.file.write_text(
            f"api:\n  port: {self.port}\n"
            "sender:\n  hostname: mail.sender.test\n  allow_networks: 127.0.0.0/8\n"
            f"  routes: example.org={sink.target}\n"
            f"edge.address: 127.0.0.1:{self.edge_port}\nedge.journal: {folder / 'journal.db'}\n"
            f"smtp.address: 127.0.0.1:{self.reports_port}\n"
            "tick.every: 300ms\n"
        )
        self.secrets = {
            "K_CONFIG": str(self.file),
            "K_SECRET": "an installation's own secret",
            "K_API_ADMIN_TOKEN": TOKEN,
            "K_DATABASE_URL": database,
            "K_NATS_URL": nats,
        }

    def run(self, *words: str, **variables: str) -> Group:
        """Start a group; it may not be ready yet."""
        self.groups.append(Group(self.folder, words, self.secrets | variables))
        return self.groups[-1]


@pytest.fixture
def installation(
    tmp_path: Path, fresh_database: str, fresh_nats: EmbeddedNats, sink: SmtpPeer
) -> Iterator[Installation]:
    made = Installation(tmp_path, fresh_database, fresh_nats.url, sink)
    yield made
    made.channel.close()
    for group in made.groups:
        group.stop()


@pytest.fixture
def migrated(installation: Installation) -> Installation:
    migrate(installation.secrets["K_DATABASE_URL"])
    return installation


def test_two_groups_without_a_part_in_common_deliver_together(migrated: Installation) -> None:
    edge = f"127.0.0.1:{migrated.edge_port}"
    before = migrated.run(*BEFORE_THE_WIRE, "--edge.targets", f"edge-0={edge}")
    after = migrated.run(*AFTER_IT, "--json")
    assert before.said_when_ready() == "running      api-gateway, verify, dispatch\n"
    assert json.loads(after.said_when_ready()) == {
        "running": ["send", "bounce", "stats", "edge-smtp"],
        "gateway": None,
        "edge": edge,
        "reports": f"127.0.0.1:{migrated.reports_port}",
        "tracking": None,
    }
    tenant = migrated.tenant()
    tenant.send([f"reader{number}@example.org" for number in range(250)])
    assert tenant.wait_for_end(250) == {"accepted": 250, "delivered": 250}
    assert len(before.children()) == len(BEFORE_THE_WIRE) + 1  # the source
    assert len(after.children()) == len(AFTER_IT) + 1


def test_what_one_group_accepts_waits_for_the_other(migrated: Installation) -> None:
    edge = f"edge-0=127.0.0.1:{migrated.edge_port}"
    migrated.run(*BEFORE_THE_WIRE, K_EDGE_TARGETS=edge).said_when_ready()
    tenant = migrated.tenant()
    tenant.send([f"reader{number}@example.org" for number in range(20)])
    migrated.run(*AFTER_IT).said_when_ready()
    assert tenant.wait_for_end(20) == {"accepted": 20, "delivered": 20}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_group_that_is_asked_to_stop_ends_in_order_and_has_said_all_in_json(
    migrated: Installation, number: signal.Signals
) -> None:
    group = migrated.run("--run-smtp", "--run-sender")
    assert group.said_when_ready() == "running      send, edge-smtp\n"
    children = group.children()
    assert len(children) == 3
    assert group.stop(number) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    said = [json.loads(line) for line in group.log.read_text().splitlines()]
    assert {"run", "send", "edge", "nats-source"} <= {line["part"] for line in said}


def test_a_group_that_is_interrupted_while_it_starts_leaves_nothing(installation: Installation) -> None:
    installation.secrets["K_NATS_URL"] = f"nats://127.0.0.1:{free_port()}"
    group = installation.run("--run-sender", "--run-smtp")
    children = wait_until(group.children, 20, "parts are being started")
    assert group.stop() == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert "Traceback" not in group.log.read_text()


def test_a_database_without_tables_is_told_of_before_anything_starts(installation: Installation) -> None:
    group = installation.run("--run-api")
    assert group.process.wait(30) == 1
    assert "run `kannon migrate`" in group.log.read_text()


def test_a_part_that_dies_is_started_again(migrated: Installation) -> None:
    group = migrated.run("--run-bounce")
    group.said_when_ready()
    before = set(group.children())
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(set(group.children()) - before) == 1, 20, "it runs again")


@pytest.mark.parametrize("setting", ["api.port", "edge.address", "smtp.address"])
def test_two_groups_cannot_listen_in_one_place(migrated: Installation, setting: str) -> None:
    words = ("--run-api", "--run-smtp")
    migrated.run(*words).said_when_ready()
    free = {
        "api.port": str(free_port()),
        "edge.address": f"127.0.0.1:{free_port()}",
        "smtp.address": f"127.0.0.1:{free_port()}",
    }
    others = [word for key, place in free.items() if key != setting for word in (f"--{key}", place)]
    group = migrated.run(*words, *others)
    assert group.process.wait(30) == 1
    assert f"({setting}) is in use by another program" in group.log.read_text()
