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

from kannon.runtime import slim_imports  # noqa: F401 - first, for it decides what others load

# isort: split
from starlette.applications import Starlette

from kannon.core.errors import KannonError
from kannon.runtime.collector import collect_rarely
from kannon.runtime.framework import create_app
from kannon.runtime.server import listening_port, serve
from kannon.runtime.stage import Stage


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


def main() -> None:
    """Serve until SIGTERM; what is under way is finished first."""
    port = listening_port()
    app = create_app(os.environ.get("FUNCTION_TARGET"), os.environ.get("FUNCTION_SOURCE"))
    app.router.lifespan_context = _life_span
    serve(
        app,
        port,
        loop="asyncio",  # uvloop, 2 MB, gains nothing where events carry chunks
        http="httptools",
        timeout_keep_alive=120,
    )


if __name__ == "__main__":
    main()
