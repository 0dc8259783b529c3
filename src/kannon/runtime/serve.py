"""Serves one function: `python -m kannon.runtime.serve`, as the image and standalone start it.

`FUNCTION_SOURCE` names the file, `FUNCTION_TARGET` the function in it, `PORT` and `HOST` where to listen. The
framework makes the application; here it gets a life span, so that a stage is ready before it is asked and
finishes what is under way before it goes. (The framework's own command would start gunicorn with a worker
process and import Flask's server: twice the memory.)
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

from kannon.runtime import slim_imports  # noqa: F401 - first, for it decides what others load

# isort: split
from starlette.applications import Starlette
from uvicorn.config import Config
from uvicorn.server import Server

from kannon.core.errors import KannonError
from kannon.runtime.collector import collect_rarely
from kannon.runtime.ending import end_when_asked
from kannon.runtime.framework import create_app
from kannon.runtime.listening import GRACE_SECONDS, place
from kannon.runtime.stage import Stage

_NOT_STARTED = 3


@asynccontextmanager
async def _life_span(_app: Starlette) -> AsyncIterator[None]:
    try:
        for stage in Stage.instances:
            await stage.open()
    except KannonError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)  # uvicorn would wrap it in a trace
    collect_rarely()
    try:
        yield
    finally:
        for stage in Stage.instances:
            await stage.close()


class _Server(Server):
    """Ends at once when it is asked to before it listens."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.started:
            os._exit(0)
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM; what is under way is finished first."""
    # uvicorn raises what it caught once more when it is done, and by then all is.
    end_when_asked()
    host, port = place()
    app = create_app(os.environ.get("FUNCTION_TARGET"), os.environ.get("FUNCTION_SOURCE"))
    app.router.lifespan_context = _life_span
    server = _Server(
        Config(
            app,
            host=host,
            port=port,
            loop="asyncio",  # uvloop, 2 MB, gains nothing where events carry chunks
            http="httptools",
            lifespan="on",
            access_log=False,
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=120,
        )
    )
    server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    main()
