"""Applies `migrations/` with yoyo, under its lock."""

from dataclasses import dataclass
from pathlib import Path

from yoyo import get_backend, read_migrations
from yoyo.exceptions import LockTimeout

from kannon.core.errors import KannonError, LedgerUnavailable

STEPS = ("pre", "post")


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
        LedgerUnavailable: PostgreSQL is away.
        MigrationError: a migration failed, or another process holds the lock for too long.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise MigrationError("database_url (K_DATABASE_URL) must begin with postgresql://")
    try:
        backend = get_backend(f"postgresql+psycopg://{rest}")
    except Exception as error:
        raise LedgerUnavailable("PostgreSQL (database_url, K_DATABASE_URL) does not answer") from error
    source = folder or migrations_folder()
    steps = STEPS if step == "all" else (step,)
    migrations = read_migrations(*(str(source / name) for name in steps if (source / name).is_dir()))
    try:
        with backend.lock():
            todo = backend.to_apply(migrations)
            names = tuple(migration.id for migration in todo)
            backend.apply_migrations(todo)
    except LockTimeout:
        raise MigrationError("another process is migrating; try again when it is done") from None
    except Exception as error:
        raise MigrationError(f"a migration failed; mended, it can be run again: {error}") from error
    return Migrated(names, len(migrations) - len(names))
