"""Serves one public function: `python -m kannon.runtime.serve_public`, as the image and standalone start it.

`FUNCTION_SOURCE` names the file, `FUNCTION_TARGET` the `PublicFunction` in it, `PORT` and `HOST` where to
listen. There is no framework in between: what is answered here is small, and much of it.
"""

import os
from importlib.util import module_from_spec, spec_from_file_location
from typing import Final

from kannon.runtime import slim_imports  # noqa: F401 - first, for it decides what others load

# isort: split
from kannon.runtime.public import PublicFunction, PublicProtocol
from kannon.runtime.server import listening_port, serve

MAX_CONNECTIONS: Final = 2_000
"""At once; a request on one more is answered with 503."""


def load(source: str, target: str) -> PublicFunction:
    """The function of that name in that file.

    Raises:
        ImportError: there is no such file, or nothing of that name in it.
    """
    spec = spec_from_file_location(f"function_{target}", source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} is no Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, target, None)
    if not isinstance(found, PublicFunction):
        raise ImportError(f"{source} has no public function {target}")
    return found


def main() -> None:
    """Serve until SIGTERM; what is under way is finished first."""
    port = listening_port()
    serve(
        load(os.environ.get("FUNCTION_SOURCE", ""), os.environ.get("FUNCTION_TARGET", "")),
        port,
        loop="uvloop",
        http=PublicProtocol,
        proxy_headers=False,  # which of them is believed is a setting
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=75,  # longer than proxies keep theirs, lest one sends into a closing connection
    )


if __name__ == "__main__":
    main()
