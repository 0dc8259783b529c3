"""Serves one public function: `python -m kannon.runtime.serve_public`, as the image and standalone start it.

`FUNCTION_SOURCE` names the file, `FUNCTION_TARGET` the `PublicFunction` in it, `PORT` and `HOST` where to
listen.
"""

import os
from importlib.util import module_from_spec, spec_from_file_location

from kannon.runtime import slim_imports  # noqa: F401 - first, for it decides what others load

# isort: split
from kannon.runtime.ending import end_when_asked
from kannon.runtime.listening import place
from kannon.runtime.public import PublicFunction


def load(source: str, target: str) -> PublicFunction:
    """The function of that name in that file.

    Raises:
        ImportError: there is no such file, or no public function of that name in it.
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
    end_when_asked()  # until it listens
    host, port = place()
    load(os.environ.get("FUNCTION_SOURCE", ""), os.environ.get("FUNCTION_TARGET", "")).run(host, port)


if __name__ == "__main__":
    main()
