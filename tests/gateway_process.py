"""A gateway as a process of its own, for the tests of a module."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gateway_client import ADMIN_TOKEN

READY_SECONDS = 20
SECRET = "an installation secret"


@dataclass
class GatewayProcess:
    """A gateway.

    Attributes:
        address: `host:port`.
    """

    process: subprocess.Popen[bytes]
    log: Path
    address: str = ""

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines() if line.endswith(b"}")]


@contextmanager
def gateway_process(database_url: str, nats_url: str, **settings: str) -> Iterator[GatewayProcess]:
    """A gateway that is ready; `settings` by variable."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    wanted = {
        "HOME": "/nonexistent",
        "K_DATABASE_URL": database_url,
        "K_NATS_URL": nats_url,
        "K_SECRET": SECRET,
        "K_API_ADMIN_TOKEN": ADMIN_TOKEN,
        "K_API_HOST": "127.0.0.1",
        "K_API_PORT": "0",
    }
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api_gateway"],
            env={**environment, **wanted, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        gateway = GatewayProcess(process, Path(log.name))
        try:
            gateway.address = f"127.0.0.1:{_port(gateway)}"
            yield gateway
        finally:
            process.terminate()
            process.wait(30)


def _port(gateway: GatewayProcess) -> int:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        for line in gateway.lines():
            if line["message"] == "ready":
                port: int = line["port"]
                return port
        assert gateway.process.poll() is None, gateway.log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"not ready: {gateway.log.read_text()}")
