"""What the processes of functions load, and leave: each is told in a Python of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def told_by(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


DEAR = (
    *("flask", "werkzeug", "aiohttp", "yaml", "click", "multiprocessing"),
    *("csv", "ctypes.util", "logging.config", "zipfile"),
    *("opentelemetry.sdk", "opentelemetry.exporter", "requests", "prometheus_client"),
    *("liquid", "css_inline", "cryptography", "psycopg", "google.protobuf", "grpc"),
)
LOADED = f"""
import os, sys
import kannon.runtime.serve
from kannon.runtime.framework import create_app
from kannon.runtime.settings import Settings
os.environ["K_CONFIG"] = os.devnull
Settings.load()
create_app("{{stage}}", "functions/{{stage}}/main.py")
print(",".join(name for name in {DEAR} if hasattr(sys.modules.get(name), "__spec__")
               and sys.modules[name].__spec__.origin))
"""


@pytest.mark.parametrize(
    ("stage", "loaded"),
    [
        ("verify", ""),
        ("send", "google.protobuf,grpc"),
        ("bounce", ""),
        ("stats", "psycopg"),
        ("webhooks", "psycopg"),
        ("events", "aiohttp"),
        ("dispatch", "cryptography,psycopg"),
    ],
)
def test_a_function_loads_only_what_it_uses(stage: str, loaded: str) -> None:
    assert told_by(LOADED.format(stage=stage)) == loaded


def test_the_gateway_loads_what_few_calls_need_only_when_it_is_asked_for() -> None:
    late = "{'liquid', 'css_inline', 'jwt', 'aiohttp', 'starlette'}"
    assert told_by(f"import sys, api_gateway.main; print({late} & {{*sys.modules}})") == "set()"


def test_dispatch_can_load_liquid_when_it_is_wanted() -> None:
    code = (
        "import kannon.runtime.serve\n"
        "from kannon.runtime.framework import create_app\n"
        "create_app('dispatch', 'functions/dispatch/main.py')\n"
        "from kannon.core.liquid_templates import LiquidTemplate\n"
        "template = LiquidTemplate('{{ day | date: \"%Y\" }}', escapes=True, clock=lambda: 0.0)\n"
        "print(template.render({'day': '2026-03-01'}))"
    )
    assert told_by(code) == "2026"


def test_track_loads_neither_a_framework_nor_what_others_need() -> None:
    dear = (*DEAR, "starlette", "uvicorn", "functions_framework", "cloudevents")
    code = (
        "import sys\n"
        "from kannon.runtime.serve_public import load\n"
        "from kannon.core.tracking.tokens import TokenReader\n"
        "load('functions/track/main.py', 'track')\n"
        "TokenReader({})\n"
        f"specs = {{name: getattr(sys.modules.get(name), '__spec__', None) for name in {dear}}}\n"
        "print(','.join(name for name, spec in specs.items() if spec and spec.origin))"
    )
    assert told_by(code) == "cryptography,psycopg"


def test_a_function_that_imports_flask_gets_the_real_one() -> None:
    code = (
        "from kannon.runtime.framework import create_app\n"
        "create_app('bounce', 'functions/bounce/main.py')\n"
        "import flask\n"
        "print(flask.Flask('a').name)"
    )
    assert told_by(code) == "a"


def test_what_is_left_out_says_so_when_it_is_wanted_after_all() -> None:
    code = (
        "import kannon.runtime.serve\n"
        "from uvicorn import run\n"
        "try: run(None)\n"
        "except RuntimeError as error: print(error)"
    )
    assert told_by(code) == "functions do not load this: see kannon.runtime.slim_imports"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("csv", "reader"),
        ("ctypes.util", "find_library"),
        ("logging.config", "dictConfig"),
        ("msgspec.inspect", "type_info"),
        ("tempfile", "mkstemp"),
        ("zipfile", "ZipFile"),
    ],
)
def test_what_is_put_off_is_there_when_it_is_used(module: str, name: str) -> None:
    code = (
        "import sys\n"
        "import kannon.runtime.slim_imports\n"
        f"import {module}\n"
        f"before = hasattr({module}, '__file__')\n"
        f"print(before, callable({module}.{name}), hasattr(sys.modules['{module}'], '__file__'))"
    )
    assert told_by(code) == "False True True"


def test_the_framework_can_still_log_the_number_of_an_execution() -> None:
    code = (
        "import os\n"
        "os.environ['LOG_EXECUTION_ID'] = 'true'\n"
        "import kannon.runtime.serve, logging\n"
        "from kannon.runtime.framework import create_app\n"
        "create_app('bounce', 'functions/bounce/main.py')\n"
        "print(len(logging.getLogger().handlers))"
    )
    assert told_by(code) == "1"


def test_nats_over_websockets_loads_what_it_needs() -> None:
    code = (
        "import sys\n"
        "from kannon.adapters.nats.connection import Connection\n"
        "async def made(url): return Connection(url, 'test')\n"
        "import asyncio\n"
        "asyncio.run(made('nats://127.0.0.1:1'))\n"
        "before = 'aiohttp' in sys.modules\n"
        "asyncio.run(made('ws://127.0.0.1:1'))\n"
        "import nats.aio.transport\n"
        "print(before, nats.aio.transport.aiohttp.__name__)"
    )
    assert told_by(code) == "False aiohttp"


def test_a_process_that_has_started_walks_through_its_garbage_rarely() -> None:
    code = (
        "import gc\n"
        "from kannon.runtime.collector import collect_rarely\n"
        "collect_rarely()\n"
        "print(gc.get_threshold()[0] >= 10_000, gc.get_freeze_count() > 1_000, gc.isenabled())"
    )
    assert told_by(code) == "True True True"
