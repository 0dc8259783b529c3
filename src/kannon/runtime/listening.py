"""Where a function listens, as the environment says."""

import os
import sys
from typing import NoReturn

from kannon.core.errors import KannonError
from kannon.runtime.settings import Settings

GRACE_SECONDS = 20
"""For what is under way when a function is asked to stop."""


def place() -> tuple[str, int]:
    """Host and port, by `HOST` and `PORT`: ends the process, in one line where a setting is wrong."""
    port = os.environ.get("PORT", "8080")
    if not port.isdecimal():
        _refuse(f"PORT must be a number, not {port!r}")
    try:
        Settings.load()
    except KannonError as error:
        _refuse(str(error))
    return os.environ.get("HOST", "0.0.0.0"), int(port)  # noqa: S104 - a container's address is its own


def _refuse(why: str) -> NoReturn:
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)
