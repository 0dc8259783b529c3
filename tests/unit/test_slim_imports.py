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


LOADED = """
import importlib, sys
from kannon.runtime.framework import create_app
create_app("{stage}", "functions/{stage}/main.py")
import kannon.runtime.serve
print(",".join(name for name in ("flask", "werkzeug", "aiohttp", "cryptography", "yaml", "psycopg")
               if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("stage", "loaded"),
    [
        ("verify", ""),
        ("send", ""),
        ("bounce", ""),
        ("stats", "psycopg"),
        ("dispatch", "cryptography,psycopg"),
    ],
)
def test_a_function_loads_only_what_it_uses(stage: str, loaded: str) -> None:
    assert told_by(LOADED.format(stage=stage)) == loaded


def test_a_function_that_imports_flask_gets_the_real_one() -> None:
    code = (
        "from kannon.runtime.framework import create_app\n"
        "create_app('bounce', 'functions/bounce/main.py')\n"
        "import flask\n"
        "print(flask.Flask('a').name)"
    )
    assert told_by(code) == "a"


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
