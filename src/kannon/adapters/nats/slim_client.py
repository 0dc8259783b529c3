"""Imports nats-py without what only WebSockets need; import this before anything of `nats`.

nats-py imports aiohttp where it is there: 8 MB and a quarter of a second of every process, for `ws://` alone.
"""

import importlib
import sys
from typing import Any

_FOR_WEBSOCKETS = "aiohttp"

if _FOR_WEBSOCKETS not in sys.modules and "nats" not in sys.modules:
    sys.modules[_FOR_WEBSOCKETS] = None  # type: ignore[assignment]  # so that importing it fails
    try:
        importlib.import_module("nats.aio.transport")
    finally:
        del sys.modules[_FOR_WEBSOCKETS]


def load_websockets() -> None:
    """Let the client speak WebSockets; raises ImportError where aiohttp is not installed."""
    transport: Any = importlib.import_module("nats.aio.transport")
    for name in (_FOR_WEBSOCKETS, "multidict"):
        setattr(transport, name, importlib.import_module(name))
