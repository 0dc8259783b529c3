"""The attachment store in a folder: implements `ports.ObjectStore`."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Final

from kannon.core.errors import NoSuchObject, StoreUnavailable

WRITTEN_AT_ONCE: Final = 1024**2
LEFT_BEHIND: Final = 24 * 3600.0
"""Seconds after which a file that is being written was left by a process that died."""
_INCOMING: Final = ".incoming"
_NAME: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)+", re.ASCII)
_RACES: Final = 5
"""How often an object's folder may be removed, for it was empty, before the object is in it."""


class FileObjects:
    """Objects as files beneath a folder, which is made when the first is written.

    They are written aside, synced, and moved to their names.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count = count()
        self._cleaned = False

    async def put(self, name: str, octets: bytes) -> None:
        """See `ports.ObjectStore`."""
        await asyncio.to_thread(self._put, self._path(name), octets)

    async def get(self, name: str, most: int) -> bytes:
        """See `ports.ObjectStore`."""
        return await asyncio.to_thread(self._get, self._path(name), most)

    async def delete(self, name: str) -> None:
        """See `ports.ObjectStore`."""
        await asyncio.to_thread(self._delete, self._path(name))

    async def names(self, beginning: str, most: int) -> list[str]:
        """See `ports.ObjectStore`."""
        return await asyncio.to_thread(self._names, beginning, most)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"no name of an object: {name!r}")
        return self._root / name

    def _put(self, path: Path, octets: bytes) -> None:
        with _translated():
            if path.exists() and path.stat().st_size == len(octets):
                return
            incoming = self._incoming() / f"{os.getpid()}-{next(self._count)}"
            try:
                _write(incoming, octets)
                _move(incoming, path)
            finally:
                incoming.unlink(missing_ok=True)
            _sync_folders(path, self._root)

    def _incoming(self) -> Path:
        folder = self._root / _INCOMING
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._cleaned:
            self._cleaned = True
            for left in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if left.stat().st_mtime < time.time() - LEFT_BEHIND:
                        left.unlink()
        return folder

    def _get(self, path: Path, most: int) -> bytes:
        with _translated():
            try:
                with path.open("rb") as file:
                    return file.read(most)
            except FileNotFoundError:
                if not self._root.is_dir():  # a volume that is not mounted has lost nothing
                    raise StoreUnavailable("the folder of the attachment store is not there") from None
                raise NoSuchObject(path.relative_to(self._root).as_posix()) from None

    def _delete(self, path: Path) -> None:
        with _translated():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are in it, or it is gone
                path.parent.rmdir()

    def _names(self, beginning: str, most: int) -> list[str]:
        with _translated():
            return list(islice(_walk(self._root, "", beginning), most))


def _write(path: Path, octets: bytes) -> None:
    view = memoryview(octets)
    path.touch(0o600)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(view), WRITTEN_AT_ONCE):
            part = view[start : start + WRITTEN_AT_ONCE]
            while part:
                part = part[file.write(part) :]
        os.fsync(file.fileno())


def _move(incoming: Path, path: Path) -> None:
    for _ in range(_RACES):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            incoming.replace(path)
            return
    raise StoreUnavailable("the attachment store is being emptied")


def _sync_folders(path: Path, root: Path) -> None:
    for folder in path.parents:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        if folder == root:
            return


def _walk(folder: Path, name: str, beginning: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name + "/" if entry.is_dir() else entry.name) for entry in found]
    except FileNotFoundError:
        return
    for entry in sorted(entries):
        full = name + entry
        if entry.startswith(".") or full[: len(beginning)] != beginning[: len(full)]:
            continue
        if entry.endswith("/"):
            yield from _walk(folder / entry, full, beginning)
        else:
            yield full


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"the attachment store: {error.strerror or type(error).__name__}") from None
