"""File systems that are full when they are told to be."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from faults.trial import NotProvoked

_CLONE_NEWNS: Final = 0x00020000  # linux/sched.h
_ROOMY: Final = "size=4g"  # a limit, not an amount
_NEVER_LESS: Final = 64 * 1024


def take_own_mounts() -> None:
    """Let mounts of this process and its children be theirs alone, where that is allowed."""
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)


class SmallDisk:
    """A file system in memory in the place of a folder, with what is in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mount(self) -> None:
        """Put it there.

        Raises:
            NotProvoked: this user may not mount.
        """
        self._exchange(
            lambda: self._mount("-t", "tmpfs", "-o", f"{_ROOMY},mode=700", "tmpfs", str(self._folder))
        )

    def fill(self) -> None:
        """From now on it has no room."""
        used = shutil.disk_usage(self._folder).used
        self._mount("-o", f"remount,size={max(used, _NEVER_LESS)}", str(self._folder))

    def drain(self) -> None:
        """It has room again."""
        self._mount("-o", f"remount,{_ROOMY}", str(self._folder))

    def unmount(self) -> None:
        """Put the folder back, with what is in it now."""
        self._exchange(lambda: subprocess.run(["umount", str(self._folder)], check=True))

    def _exchange(self, change: Callable[[], object]) -> None:
        with tempfile.TemporaryDirectory() as aside:
            shutil.copytree(self._folder, aside, dirs_exist_ok=True)
            change()
            for entry in self._folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            shutil.copytree(aside, self._folder, dirs_exist_ok=True)

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotProvoked(f"nothing can be mounted here: {done.stderr.strip()}")
