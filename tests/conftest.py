"""What every suite may use: a PostgreSQL and a NATS of its own, and patience with a deadline."""

import asyncio
import inspect
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.postgres import EmbeddedPostgres

Condition = Callable[[], object | Awaitable[object]]
Eventually = Callable[..., Awaitable[object]]
Figure = Callable[[str], None]


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """`figure("12 ms")`: what was measured, told when all tests are done: no test fails by it."""
    return lambda told: record_property("figure", told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    told = sorted(value for report in reports for name, value in report.user_properties if name == "figure")
    if told:
        terminalreporter.section("figures")
        terminalreporter.write("".join(f"{line}\n" for line in told))


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """`await eventually(condition, within=20.0)`: poll until it is true, and give what it returned."""

    async def poll(condition: Condition, within: float = 20.0) -> object:
        deadline = time.monotonic() + within
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within:g} s: {inspect.getsource(condition).strip()}")
            await asyncio.sleep(0.01)

    return poll


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own ones, when root runs it, are not."""
    folder = Path(tempfile.mkdtemp(prefix="kannon-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def open_path(open_folder: Path) -> Path:
    """A folder of one test's own that every user can reach: as root, PostgreSQL then keeps its data in it."""
    path = open_folder / uuid.uuid4().hex
    path.mkdir(mode=0o711)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(open_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL of this test process's own."""
    with DataFolder(open_folder / "postgres") as data_folder:
        server = EmbeddedPostgres(data_folder)
        await server.start()
        yield server
        await server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedPostgres) -> str:
    """Its database `kannon`, which all tests of this process share."""
    return postgres_server.url


@pytest.fixture
def fresh_database(postgres_url: str) -> str:
    """The URL of an empty database, for one test."""
    return create_database(postgres_url)


@pytest.fixture(scope="session")
def shared_database(postgres_url: str) -> str:
    """A database with all tables, which tests use one after another."""
    url = create_database(postgres_url)
    migrate(url)
    return url


@pytest.fixture
def migrated_database(shared_database: str) -> str:
    """The URL of a database with all tables and no rows, for one test."""
    tables = (
        "domains, api_keys, bodies, templates, messages, deliveries, idempotency_keys, stats, attachments, "
        "stats_firsts, engagements_seen, rollup_deltas, rollups, batch_rollups, rollup_latencies, "
        "batch_latencies, providers, outbox, streams, reports, report_counts, suppressions, "
        "soft_bounces, stats_keys, mail_counts, audit_records, webhooks, webhook_deliveries"
    )
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables}")
        connection.execute("UPDATE rollup_grains SET until = '1970-01-01 00:00Z'")
    return shared_database


def create_database(server_url: str) -> str:
    """The URL of a new, empty database."""
    # None is dropped: that waits for a checkpoint each time, and the server goes at the end anyway.
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server_url.rpartition('/')[0]}/{name}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(open_folder: Path) -> AsyncIterator[EmbeddedNats]:
    """A NATS of this test process's own."""
    with DataFolder(open_folder / "nats") as data_folder:
        server = EmbeddedNats(data_folder)
        await server.start()
        yield server
        await server.stop()


@pytest.fixture(scope="session")
def nats_url(nats_server: EmbeddedNats) -> str:
    """Its URL; its streams outlive a test."""
    return nats_server.url


@pytest.fixture
async def fresh_nats(tmp_path: Path) -> AsyncIterator[EmbeddedNats]:
    """A running NATS for one test, which may stop it, delete its store, start it again on its port."""
    with DataFolder(tmp_path / "fresh_nats") as data_folder:
        server = EmbeddedNats(data_folder)
        await server.start()
        yield server
        await server.stop()
