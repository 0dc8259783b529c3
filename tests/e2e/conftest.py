"""One system for the tests that leave it as they found it, one for those that break it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dns_server import DnsServer
from tests.e2e.system import System, Tenant
from tests.smtp_peer import SmtpPeer


@pytest.fixture(scope="session")
def names() -> Iterator[DnsServer]:
    """A DNS in which no recipient's domain exists but a few."""
    zone: dict = {"null.test": {"MX": ["0 ."]}, "broken.test": "SERVFAIL"}
    with DnsServer(zone) as server:
        yield server


@pytest.fixture(scope="module")
def sink() -> Iterator[SmtpPeer]:
    """The exchanger of `example.org` and `broken.test`."""
    with SmtpPeer() as peer:
        yield peer


@pytest.fixture(scope="module")
def system(open_folder: Path, sink: SmtpPeer, names: DnsServer) -> Iterator[System]:
    """A running Kannon whose mail for `example.org` goes to the sink."""
    folder = open_folder / f"system-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o711)
    settings = {
        "K_SENDER_ROUTES": f"example.org={sink.target}",
        "K_DNS_SERVERS": f"127.0.0.1:{names.port}",
        "K_SMTP_FEEDBACK_ADDRESSES": "fbl@feedback.sender.test",
        "K_SMTP_UNSUBSCRIBING": "true",
        "K_EVENTS_REQUESTS": "true",
        "K_WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    system = System(folder, settings).start()
    yield system
    code = system.stop()
    assert code == 0, (folder / "standalone.log").read_text()[-4000:]


@pytest.fixture
def own_system(open_path: Path) -> Iterator[Callable[..., System]]:
    """Makes systems for one test alone; whatever the test does, none is left running."""
    made: list[System] = []

    def make(**settings: str) -> System:
        made.append(System(open_path, settings).start())
        return made[-1]

    yield make
    for system in made:
        system.stop()


@pytest.fixture
def tenant(system: System) -> Tenant:
    """A sending domain of the test's own."""
    return system.tenant()
