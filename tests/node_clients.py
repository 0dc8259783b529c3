"""Clients that others wrote in JavaScript, from npm: installed once, by the hashes of the lock file.

Where there is no Node, or npm reaches nothing, tests of them are skipped, with the reason.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[1] / ".node"
INSTALL_SECONDS = 120
RUN_SECONDS = 60


def run(script: str, told: Any) -> Any:
    """What a script of `tests/node/` answers to what it is told."""
    folder = installed()
    done = subprocess.run(
        ["node", script],
        cwd=folder,
        input=json.dumps(told).encode(),
        capture_output=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def installed() -> Path:
    """A folder with the scripts and what they need."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no Node: clients in JavaScript are not tried")
    sources = sorted(path for path in SOURCES.iterdir() if path.is_file())
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    ready = CACHE / digest
    if ready.exists():
        return ready
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=CACHE))
    for path in sources:
        shutil.copy(path, folder)
    _install(folder)
    try:
        folder.rename(ready)
    except OSError:  # another process of the tests was first
        shutil.rmtree(folder)
    return ready


def _install(folder: Path) -> None:
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(
            command,
            cwd=folder,
            timeout=INSTALL_SECONDS,
            check=True,
            capture_output=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder)
        said = (error.stderr or b"").decode()
        if "EINTEGRITY" in said:
            raise
        pytest.skip(f"npm ci cannot fetch the clients: {said[-300:]}")
