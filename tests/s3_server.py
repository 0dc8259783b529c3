"""A real S3 server for tests: rclone, on a folder and a free port of 127.0.0.1."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kannon.cli.standalone.listening import free_port
from kannon.core.stored_objects import StorePlace

ACCESS_KEY, SECRET_KEY = "kannon-tests", "a-secret-of-tests"
RCLONE = Path(sys.executable).with_name("rclone")


class S3Server:
    """Serves the folders beneath `root` as buckets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        (root / "mail").mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> StorePlace:
        """A prefix of the bucket `mail`."""
        return StorePlace("s3://mail/kannon", f"http://127.0.0.1:{self.port}", "", ACCESS_KEY, SECRET_KEY)

    @property
    def settings(self) -> dict[str, str]:
        """What a process is told to use it."""
        return {
            "K_ATTACHMENTS_URL": self.place.url,
            "K_ATTACHMENTS_ENDPOINT": self.place.endpoint,
            "K_ATTACHMENTS_ACCESS_KEY": ACCESS_KEY,
            "K_ATTACHMENTS_SECRET_KEY": SECRET_KEY,
        }

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(str(RCLONE), "serve", "s3", "--addr", f"127.0.0.1:{self.port}"),
                *("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", "", str(self.root)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.root.parent / f"{self.root.name}.log").open("wb"),
        )
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, "rclone ended"
            assert time.monotonic() < deadline, "rclone does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def s3_server(root: Path) -> Iterator[S3Server]:
    """A server while one needs it."""
    server = S3Server(root)
    server.start()
    try:
        yield server
    finally:
        server.stop()
