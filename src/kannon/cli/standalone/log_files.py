"""Log files that children append to by themselves, and that are kept from growing without end."""

import logging
import os
import shutil
from pathlib import Path

_LIMIT = 10 * 1024 * 1024
_TAIL_BYTES = 16 * 1024

logger = logging.getLogger(__name__)


def open_log(path: Path) -> int:
    """Open a log file for a child.

    Returns:
        A descriptor that appends, for the caller to close.
    """
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def rotate(path: Path, *, limit: int = _LIMIT) -> None:
    """Move what a log file holds to `<name>.1`, in place of what is there, once it has outgrown the limit.

    The file is copied and emptied, so whoever has it open to append goes on without noticing; lines written
    between the two are lost.

    Args:
        path: the log file.
        limit: bytes it may have.
    """
    try:
        if path.stat().st_size > limit:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("a log file cannot be rotated", extra={"file": str(path), "reason": str(error)})


def last_lines(path: Path, *, since: int = 0, count: int = 20) -> list[str]:
    """Read the end of a log file.

    Args:
        path: the log file.
        since: the offset in bytes before which nothing is of interest.
        count: how many lines at most.
    """
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(since if since <= end else 0, end - _TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
