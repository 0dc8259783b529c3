"""Fixtures for tests of the edge against exchangers on 127.0.0.1: name this module in `pytest_plugins`."""

import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from kannon.core.exchangers import Exchanger
from tests.dns_server import DnsServer
from tests.edge_harness import Edge, EdgeHarness
from tests.smtp_peer import SmtpPeer


@pytest.fixture
def peer() -> Iterator[SmtpPeer]:
    """An exchanger that takes everything, until told otherwise."""
    with SmtpPeer() as running:
        yield running


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """Makes edges whose mail all goes to the given peer, or by routes or DNS as told.

    Their journals are `journal0`, `journal1`, … in `tmp_path`.
    """
    running: list[EdgeHarness] = []

    async def make(peer: SmtpPeer | None = None, **settings: object) -> EdgeHarness:
        routes = {"*": Exchanger(0, peer.host, peer.port)} if peer else {}
        given = {"routes": routes} | settings
        made = EdgeHarness(tmp_path / f"journal{len(running)}", **given)  # type: ignore[arg-type]
        running.append(await made.start())
        return made

    yield make
    for one in running:
        await one.stop()


@pytest.fixture(scope="session")
def server_tls() -> ssl.SSLContext:
    """For a peer that offers STARTTLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("peer.test").configure_cert(context)
    return context


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """A DNS server whose zone is empty."""
    with DnsServer({}) as server:
        yield server
