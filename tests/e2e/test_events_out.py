"""Public events of a whole system: to a sink that fails or is slow, to the example, and on a terminal."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kannon.adapters.pb import stats_v3_pb2, stats_v3_pb2_grpc
from kannon.cli.standalone.listening import free_port
from tests.commands import started
from tests.contracts import check_event
from tests.e2e.system import ROOT, System, Tenant, wait_until
from tests.receiving import Receiver, Taken
from tests.smtp_peer import Behaviour, SmtpPeer

EXAMPLE = ROOT / "examples" / "suppress-bounced"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def telling(open_folder: Path, sink: SmtpPeer, receiver: Receiver) -> Iterator[System]:
    """A system that tells the receiver what became of its mails."""
    folder = open_folder / f"telling-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o711)
    settings = {
        "K_SENDER_ROUTES": f"*={sink.target}",
        "K_DNS_SERVERS": "127.0.0.1:1",
        "K_EVENTS_SINK": receiver.url,
    }
    system = System(folder, settings).start()
    yield system
    assert system.stop() == 0, (folder / "standalone.log").read_text()[-4000:]


@pytest.fixture
def tenant(telling: System, receiver: Receiver) -> Iterator[Tenant]:
    """A sending domain of the test's own."""
    receiver.taken.clear()
    yield telling.tenant()
    receiver.answer = lambda _: 202


def told(receiver: Receiver, tenant: Tenant) -> list[dict[str, Any]]:
    events = [taken.event for taken in list(receiver.taken)]
    return [event for event in events if event["data"]["domain"] == tenant.domain]


def test_every_outcome_reaches_a_sink_that_fails_a_third_of_the_time_as_its_contract_says(
    tenant: Tenant, receiver: Receiver
) -> None:
    chance = random.Random(7)
    receiver.answer = lambda _: 202 if chance.random() > 1 / 3 else 500
    tenant.send([f"r{number}@example.org" for number in range(200)])
    tenant.wait_for_end(200)
    wait_until(lambda: len({event["id"] for event in told(receiver, tenant)}) >= 400, 60)
    events = told(receiver, tenant)
    for event in events:
        check_event(event)
    kinds = Counter(event["type"] for event in {event["id"]: event for event in events}.values())
    assert kinds == {
        "email.kannon.delivery.accepted.v1": 200,
        "email.kannon.delivery.delivered.v1": 200,
    }
    stub = stats_v3_pb2_grpc.StatsApiV3Stub(tenant.system.channel)  # type: ignore[arg-type]
    request = stats_v3_pb2.StreamOutcomesReq(domain=tenant.domain)
    answers: Any = stub.StreamOutcomes(request, metadata=tenant.metadata, timeout=30)
    streamed = {one.event_id for answer in answers for one in answer.outcomes}
    assert streamed == {event["id"] for event in events}


def test_a_sink_that_is_slow_does_not_slow_mail(tenant: Tenant, receiver: Receiver) -> None:
    def slow(_taken: Taken) -> int:
        time.sleep(1)
        return 202

    receiver.answer = slow
    began = time.monotonic()
    tenant.send([f"r{number}@example.org" for number in range(300)])
    tenant.wait_for_end(300)
    took = time.monotonic() - began
    assert len(told(receiver, tenant)) < 300  # of 600: the sink needs 38 s for all of them
    assert took < 20
    receiver.answer = lambda _: 202
    wait_until(lambda: len({event["id"] for event in told(receiver, tenant)}) == 600, 60)


class Broker:
    """Brings events to a subscriber as the example's Triggers say, again until they are taken."""

    def __init__(self, subscriber: str) -> None:
        manifests = list(yaml.safe_load_all((EXAMPLE / "kannon.yaml").read_text()))
        triggers = [one["spec"] for one in manifests if one["kind"] == "Trigger"]
        self._wanted = {trigger["filter"]["attributes"]["type"] for trigger in triggers}
        self._subscriber = subscriber

    def take(self, taken: Taken) -> int:
        if taken.headers["ce-type"] in self._wanted:
            request = urllib.request.Request(self._subscriber, taken.body, dict(taken.headers), method="POST")
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status < 300
        return 202


@pytest.fixture
def example(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    variables = {"HOST": "127.0.0.1", "PORT": str(port), "DATABASE": str(tmp_path / "recipients.sqlite")}
    process = subprocess.Popen(
        [sys.executable, EXAMPLE / "app.py"],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: looked_up(f"{url}/healthz") is not None, 20)
        yield url
    finally:
        process.terminate()
        process.wait()


def looked_up(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read() or b"{}")
    except OSError:
        return None


def test_the_example_learns_by_its_triggers_who_is_still_reached(
    tenant: Tenant, receiver: Receiver, sink: SmtpPeer, example: str
) -> None:
    sink.behaviours["gone"] = Behaviour(rcpt="550 5.1.1 no such user")
    receiver.answer = Broker(f"{example}/").take
    tenant.send(["ada@example.org", "gone@example.org"])
    wait_until(lambda: looked_up(f"{example}/recipients/gone@example.org"), 30)
    gone = looked_up(f"{example}/recipients/gone@example.org")
    assert (gone["state"], gone["reason"], gone["mails"]) == ("bounced", "bad-mailbox", 1)
    reached = wait_until(lambda: looked_up(f"{example}/recipients/ada@example.org"), 30)
    assert (reached["state"], reached["mails"]) == ("reached", 1)
    for taken in list(receiver.taken):  # all of it once more, as Brokers may
        Broker(f"{example}/").take(taken)
    assert looked_up(f"{example}/recipients/ada@example.org") == reached
    assert looked_up(f"{example}/recipients/gone@example.org") == gone


def test_tail_shows_outcomes_as_they_come_and_ends_in_peace(telling: System, tenant: Tenant) -> None:
    variables = {"KANNON_API": telling.api, "K_API_ADMIN_TOKEN": telling.token}
    tenant.send(["before@example.org"])
    tenant.wait_for_end(1)
    tail = started("events", "tail", tenant.domain, "--json", "--type", "delivered", "--all", **variables)
    assert tail.stdout
    assert tail.stderr
    assert json.loads(tail.stdout.readline())["email"] == "before@example.org"
    tenant.send(["now@example.org"])
    assert json.loads(tail.stdout.readline())["email"] == "now@example.org"
    tail.send_signal(signal.SIGINT)
    assert tail.wait(20) == 0
    said = tail.stderr.read()
    assert "Traceback" not in said
    cursor = said.split()[-1]
    tenant.send(["later@example.org"])
    tenant.wait_for_end(3)
    rest = started("events", "tail", tenant.domain, "--cursor", cursor, "--no-follow", **variables)
    out, _ = rest.communicate(timeout=20)
    assert rest.returncode == 0
    assert [line.split("\t")[3] for line in out.splitlines()] == ["later@example.org"] * 2
