"""Leaves out what libraries import and functions do not use; import this before any of them.

In its place stands an empty module, for this process only.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

NEVER: Final = frozenset(
    {
        "cryptography.hazmat.primitives.serialization.ssh",  # keys and certificates of SSH: 0.7 MB
        "msgspec._json_schema",
        "starlette.formparsers",  # forms, and temporary files for what is uploaded in them
        "uvicorn.main",  # its command, with click, and its workers, with multiprocessing: 1.5 MB, 50 ms
    }
)
"""Nothing can be made of what these hold."""
WHEN_USED: Final = frozenset(
    {
        "csv",  # the files of a package, which nobody lists
        "ctypes.util",  # looks for libpq, which psycopg brings along: 0.8 MB
        "logging.config",  # for functions-framework's LOG_EXECUTION_ID: 0.4 MB
        "msgspec.inspect",
        "tempfile",  # for resources inside archives
        "zipfile",  # for packages inside archives: 1 MB
    }
)
"""These are loaded when what they hold is used."""


class _LeftOut:
    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("functions do not load this: see kannon.runtime.slim_imports")


class _Finder:
    """Finds an empty module for each of these names."""

    def __init__(self) -> None:
        self._names = set(NEVER | WHEN_USED)

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._names else None  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        """None: of the usual kind."""

    def exec_module(self, module: ModuleType) -> None:
        def named(name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return _LeftOut if module.__name__ in NEVER else getattr(self._real(module.__name__), name)

        module.__dict__["__getattr__"] = named

    def _real(self, name: str) -> ModuleType:
        if name in self._names:
            self._names.remove(name)
            del sys.modules[name]
        return import_module(name)


def _exists(entry: str) -> bool:
    return not entry.endswith(".zip") or os.path.exists(entry)  # noqa: PTH110 - pathlib would be loaded for it


# Python looks for its library in an archive, too, that hardly anybody has: each search would load zipfile.
sys.path[:] = filter(_exists, sys.path)
# What a finder usually descends from would load 2 MB.
_first: Any = _Finder()
sys.meta_path.insert(0, _first)
