"""What the embedded servers have in common."""

from abc import ABC, abstractmethod

from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.errors import EmbeddedServerError, PartFailed
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.part import Part, RunningPart


class EmbeddedServer(ABC):
    """A server whose data lies in the data folder, and that listens on 127.0.0.1 only.

    Either a supervisor runs it (`prepare`, then `part`), or it is run alone (`start`, `stop`). It keeps its
    port for as long as this object lives.
    """

    def __init__(self, data_folder: DataFolder, port: int | None = None) -> None:
        """
        Args:
            data_folder: an open data folder.
            port: where to listen; a free port when None.
        """
        self._data_folder = data_folder
        self._port = port
        self._running: RunningPart | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def pid(self) -> int | None:
        """Its process id while it runs by `start`."""
        child = self._running.child if self._running is not None else None
        return child.pid if child is not None and child.exit_code is None else None

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to; it contains the password."""

    @abstractmethod
    async def prepare(self) -> None:
        """Make everything ready that the server needs to start.

        Raises:
            EmbeddedServerError: it cannot be run here.
        """

    @abstractmethod
    def part(self) -> Part:
        """The server as a part of a supervisor; for after `prepare`."""

    async def start(self) -> None:
        """Prepare it, start it and wait until it answers.

        Raises:
            EmbeddedServerError: it cannot be run here, or did not start.
        """
        await self.prepare()
        self._running = RunningPart(self.part(), keep_open=self._data_folder.keep_open)
        try:
            await self._running.start()
        except PartFailed as error:
            await self._running.stop()
            raise EmbeddedServerError(str(error)) from error
        except BaseException:
            await self._running.stop()
            raise

    async def stop(self) -> None:
        """Stop it, and wait until it has ended; nothing happens if it does not run."""
        if self._running is not None:
            await self._running.stop()
            self._running = None
