"""What programs that try a whole system on this machine have in common, from start to end."""

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kannon.core.errors import KannonError
from kannon.runtime.logs import start_logging


def run(load: Callable[[], Callable[[], object]]) -> None:
    """Run a command; failures are one line.

    Args:
        load: imports the command, after what is read at import was set.
    """
    os.environ["GRPC_VERBOSITY"] = "ERROR"  # read at import; else it tells of every process that is started
    command = load()
    # A shell starts what runs in its background deaf to SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command()
    except (KannonError, KeyboardInterrupt) as error:
        sys.exit(f"error: {error or 'interrupted'}")


@contextmanager
def quiet_folder(name: str, given: Path | None) -> Iterator[Path]:
    """The data folder of a system whose parts are to die: the one that is `given` and kept, or one that is
    removed again. Nothing but what is critical is logged."""
    start_logging(name, stream=sys.stderr)
    logging.getLogger().setLevel(logging.CRITICAL)  # that parts die is what is wanted
    folder = given.resolve() if given else Path(tempfile.mkdtemp(prefix=f"kannon-{name}-"))
    folder.mkdir(exist_ok=True, parents=True)
    folder.chmod(0o711)  # PostgreSQL runs as another user where we are root
    try:
        yield folder
    finally:
        if given is None:
            shutil.rmtree(folder, ignore_errors=True)
