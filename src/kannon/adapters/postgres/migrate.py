"""Applies `migrations/` with yoyo, one process at a time."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from yoyo import get_backend, read_migrations

from kannon.adapters.postgres.connection import queries, refusal
from kannon.core.errors import KannonError, LedgerUnavailable

STEPS = ("pre", "post")
PATIENCE = 60.0
"""Seconds for which PostgreSQL is waited for."""
LOCK_PATIENCE = "60s"
log = logging.getLogger(__name__)


class MigrationError(KannonError):
    """The migrations cannot be found or applied."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a run did."""

    applied: tuple[str, ...]
    already: int


def migrations_folder() -> Path:
    """Where the migrations lie: beside the sources, or where the image puts them.

    Raises:
        MigrationError: nowhere.
    """
    for root in (*Path(__file__).resolve().parents, Path.cwd()):
        if (folder := root / "migrations" / "pre").is_dir():
            return folder.parent
    raise MigrationError("the folder `migrations` is not there: run from a checkout, or from the image")


def migrate(url: str, step: str = "all", folder: Path | None = None) -> Migrated:
    """Apply what is not applied yet.

    Args:
        url: PostgreSQL's.
        step: `pre` (before new code runs), `post` (after old code stopped) or `all`.

    Raises:
        LedgerRefuses: PostgreSQL will not let us in.
        LedgerUnavailable: PostgreSQL is away.
        MigrationError: a migration failed, or another process holds the lock for too long.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise MigrationError("database_url (K_DATABASE_URL) must begin with postgresql://")
    with _alone(url) as connection:
        done = _apply(f"postgresql+psycopg://{rest}", step, folder or migrations_folder())
        connection.execute(queries("outcome_log")["keep_positions_growing"])  # it may be a restored database
        return done


def missing(url: str, folder: Path | None = None) -> tuple[str, ...]:
    """The steps that the code here needs and that are not applied; it does not wait.

    Raises:
        LedgerRefuses: PostgreSQL will not let us in.
        LedgerUnavailable: PostgreSQL is away.
        MigrationError: the migrations cannot be found.
    """
    needed = sorted(path.stem for path in ((folder or migrations_folder()) / STEPS[0]).glob("*.sql"))
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            rows = connection.execute("SELECT migration_id FROM _yoyo_migration").fetchall()
    except psycopg.errors.UndefinedTable:
        rows = []
    except psycopg.Error as error:
        if (final := refusal(error)) is not None:
            raise final from None
        raise LedgerUnavailable("PostgreSQL (database_url, K_DATABASE_URL) does not answer") from None
    applied = {str(name) for (name,) in rows}
    return tuple(name for name in needed if name not in applied)


@contextmanager
def _alone(url: str) -> "Iterator[psycopg.Connection[tuple[object, ...]]]":
    """Hold the lock that keeps two processes from migrating at once; it ends with its connection, so that a
    process that is killed leaves none behind (yoyo's own lock is a row, which would stay)."""
    with _connected(url) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_PATIENCE,))
        try:
            connection.execute("SELECT pg_advisory_lock(hashtext('kannon migrations'))")
        except psycopg.errors.LockNotAvailable:
            raise MigrationError("another process is migrating; try again when it is done") from None
        yield connection


def _connected(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    deadline = time.monotonic() + PATIENCE
    said = False
    while True:
        try:
            return psycopg.connect(url, autocommit=True, connect_timeout=5)
        except psycopg.Error as error:
            if (final := refusal(error)) is not None:
                raise final from None
            left = deadline - time.monotonic()
            if left < 0:
                raise LedgerUnavailable(
                    f"PostgreSQL (database_url, K_DATABASE_URL) did not answer for {PATIENCE:.0f} s"
                ) from None
            if not said:
                log.warning("waiting for PostgreSQL", extra={"seconds_left": round(left)})
                said = True
            time.sleep(1)


def _apply(url: str, step: str, source: Path) -> Migrated:
    steps = STEPS if step == "all" else (step,)
    migrations = read_migrations(*(str(source / name) for name in steps if (source / name).is_dir()))
    try:
        backend = get_backend(url)
        try:
            todo = backend.to_apply(migrations)
            names = tuple(migration.id for migration in todo)
            backend.apply_migrations(todo)
            log.info("the database is up to date", extra={"applied": list(names)})
        finally:
            backend.connection.close()
    except Exception as error:
        raise MigrationError(f"a migration failed; mended, it can be run again: {error}") from error
    return Migrated(names, len(migrations) - len(names))
