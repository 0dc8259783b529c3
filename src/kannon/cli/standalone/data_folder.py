"""The folder in which a standalone keeps everything: its secrets, its servers' data, its logs."""

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from kannon.cli.standalone.errors import DataFolderError

SHARED_FOLDER = Path("/var/lib/kannon")
"""What root keeps for all of its standalones; also root's own default data folder."""

_SETTING = "data_folder / K_DATA_FOLDER"
_LOCK = "kannon.lock"
_HARMLESS = {"lost+found"}


def default_data_folder(environment: Mapping[str, str], *, root: bool) -> Path:
    """Where the data lies when the setting `data_folder` says nothing.

    Args:
        environment: where `XDG_DATA_HOME` and `HOME` are looked up (XDG Base Directory Specification).
        root: whether root asks.
    """
    if root:
        return SHARED_FOLDER
    data_home = Path(environment.get("XDG_DATA_HOME", ""))
    if not data_home.is_absolute():  # the specification has relative paths ignored
        home = environment.get("HOME")
        data_home = (Path(home) if home else Path.home()) / ".local" / "share"
    return data_home / "kannon"


_ANOTHER = "choose another by data_folder / K_DATA_FOLDER"


def take_folder(path: Path) -> None:
    """Create a folder, or take one that is ours, and shut other users out.

    As root they may pass through it by name (mode 711), since a server that gave up root must reach its own
    folder inside; otherwise they may not even do that (700).

    Raises:
        DataFolderError: it belongs to another user, or cannot be made.
    """
    allowed = 0o711 if os.geteuid() == 0 else 0o700
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.geteuid():
            raise DataFolderError(f"{path} belongs to another user (uid {found.st_uid}); {_ANOTHER}")
        if stat.S_IMODE(found.st_mode) != allowed:
            path.chmod(allowed)
    except OSError as error:
        raise DataFolderError(
            f"{path} cannot be used as a data folder: {error.strerror}; {_ANOTHER}"
        ) from error


class DataFolder:
    """One standalone's data folder, which it has for itself while it is open.

    Used as a context manager, or by `open` and `close`. Secrets are made when they are first asked for and
    stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser().resolve()
        self._lock: int | None = None

    @property
    def path(self) -> Path:
        """Where it lies, without symbolic links."""
        return self._path

    @property
    def secret(self) -> str:
        """The installation secret (`K_SECRET`)."""
        return self._kept_secret("secret")

    @property
    def admin_token(self) -> str:
        """The token that the gateway asks of administrators (`K_API_ADMIN_TOKEN`)."""
        return self._kept_secret("admin_token")

    @property
    def database_password(self) -> str:
        """The password of the embedded PostgreSQL's only user."""
        return self._kept_secret("database_password")

    @property
    def nats_password(self) -> str:
        """The password of the embedded NATS's only user."""
        return self._kept_secret("nats_password")

    @property
    def keep_open(self) -> tuple[int, ...]:
        """What children inherit, so that the folder stays locked until the last of them has ended."""
        return () if self._lock is None else (self._lock,)

    def open(self, *, wait: float = 30.0) -> None:
        """Create the folder if need be, and lock it.

        Args:
            wait: seconds given to the parts of a standalone that was killed, which may still be stopping.

        Raises:
            DataFolderError: the folder cannot be used, or another standalone uses it.
        """
        self._refuse_foreign_folder()
        take_folder(self._path)
        lock = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(lock, time.monotonic() + wait)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def close(self) -> None:
        """Give the folder up, as far as no child still holds it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def subfolder(self, name: str) -> Path:
        """A folder inside that only we can enter; made if need be."""
        path = self._path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _refuse_foreign_folder(self) -> None:
        # A folder that is not ours may be anything, /tmp by mistake; shutting other users out of it does
        # harm.
        if self._path == SHARED_FOLDER:
            return
        try:
            found = {entry.name for entry in self._path.iterdir()} - _HARMLESS
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataFolderError(
                f"{self._path} cannot be used as a data folder: {error.strerror}; "
                f"choose another by {_SETTING}"
            ) from error
        if found and _LOCK not in found:
            raise DataFolderError(
                f"{self._path} is not a data folder of Kannon, and not empty; choose another by {_SETTING}"
            )

    def _acquire(self, lock: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                if _is_running(holder):
                    raise DataFolderError(
                        f"the data folder {self._path} is in use by another standalone (pid {holder}); stop "
                        f"that one, or choose another folder by {_SETTING}"
                    ) from None
                if time.monotonic() > deadline:
                    raise DataFolderError(
                        f"the data folder {self._path} is still held by parts of a standalone that was "
                        f"killed (pid {holder or 'unknown'}); end them, or choose another by {_SETTING}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _kept_secret(self, name: str) -> str:
        path = self._path / name
        with suppress(FileExistsError, FileNotFoundError):
            if not path.exists():
                self._create_secret(path)
        try:
            path.chmod(0o600)
            kept = path.read_text().strip()
        except OSError as error:
            raise DataFolderError(f"{path} cannot be read: {error.strerror}") from error
        if not kept:
            raise DataFolderError(f"{path} is empty; restore it from a backup")
        return kept

    def _create_secret(self, path: Path) -> None:
        # Linked into place when complete, so that it is there wholly or not at all, and never replaces
        # another.
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        file = _create_private(draft)
        try:
            os.write(file, (secrets.token_urlsafe(32) + "\n").encode())
            os.fsync(file)
            path.hardlink_to(draft)
        finally:
            os.close(file)
            draft.unlink()
        sync_folder(path.parent)


def write_file(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Put a file that only its owner can read in place of what is there.

    It is safe for root in a folder of another user: no link that this user laid out is followed.

    Args:
        path: where it will lie.
        text: what it will hold.
        owner: user and group id; ours when None.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(_create_private(draft), "w") as file:
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        file.write(text)
    draft.replace(path)


def sync_folder(path: Path) -> None:
    """Make sure that the names in a folder outlast a loss of power."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _create_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _is_running(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
