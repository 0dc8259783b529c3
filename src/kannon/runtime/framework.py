"""functions-framework's asyncio flavour, without the Flask that only its other flavour runs on.

The package imports Flask whichever flavour is asked for: 6 MB and a seventh of a second of every function.
It is used for annotations, and to look for a request of Flask's where there is none of ours. So while the
package is imported it meets stand-ins; a function that imports Flask for itself gets the real one.
"""

import importlib
import sys
from types import ModuleType
from typing import Any, cast

from starlette.applications import Starlette


def _stand_ins() -> dict[str, ModuleType]:
    flask, typing = ModuleType("flask"), ModuleType("flask.typing")
    werkzeug, local = ModuleType("werkzeug"), ModuleType("werkzeug.local")
    typing.__dict__.update(ResponseReturnValue=object)
    flask.__dict__.update(Request=object, typing=typing, has_request_context=lambda: False)
    local.__dict__.update(LocalProxy=lambda get: get)
    return {module.__name__: module for module in (flask, typing, werkzeug, local)}


def _import_slim() -> Any:
    if "flask" in sys.modules or "functions_framework" in sys.modules:
        return importlib.import_module("functions_framework.aio")
    stand_ins = _stand_ins()
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("functions_framework.aio")
    finally:
        for name in stand_ins:
            del sys.modules[name]


def create_app(target: str | None, source: str | None) -> Starlette:
    """The application that answers with one HTTP function; see functions-framework for what it raises.

    Args:
        target: name of the function.
        source: the file that it stands in.
    """
    return cast("Starlette", _import_slim().create_asgi_app(target, source, "http"))
