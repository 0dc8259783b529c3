"""The HTTP server of a function: what all of them have in common."""

import os
import signal
import sys
from typing import Any, Final, NoReturn

from uvicorn.config import Config
from uvicorn.server import Server

from kannon.core.errors import KannonError
from kannon.runtime.settings import Settings

GRACE_SECONDS: Final = 20
_NOT_STARTED: Final = 3


def listening_port() -> int:
    """Where to listen; ends the process, in one line, where that or a setting is malformed."""
    port = os.environ.get("PORT", "8080")
    if not port.isdecimal():
        _refuse(f"PORT must be a number, not {port!r}")
    try:
        Settings.load()
    except KannonError as error:
        _refuse(str(error))
    return int(port)


def serve(app: Any, port: int, **options: Any) -> None:
    """Serve until SIGTERM; what is under way is finished first.

    Args:
        app: an ASGI application with a life span.
        options: of uvicorn, beside those that are always the same.
    """
    for asked in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises what it caught once more when it is done: to be asked to stop is no failure.
        signal.signal(asked, lambda *_: None)
    server = Server(
        Config(
            app,
            host=os.environ.get("HOST", "0.0.0.0"),  # noqa: S104 - a container's address is its own
            port=port,
            lifespan="on",
            access_log=False,
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=GRACE_SECONDS,
            **options,
        )
    )
    server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


def _refuse(why: str) -> NoReturn:
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)
