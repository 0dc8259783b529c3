"""The connection to NATS: waited for at the start, kept up for ever after."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

from kannon.adapters.nats.slim_client import load_websockets

# isort: split
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from kannon.core.errors import EventsUnavailable

_log = logging.getLogger(__name__)

API_TIMEOUT: Final = 5.0
"""Seconds that JetStream has to answer or to confirm."""

_RECONNECT_PAUSE: Final = 0.25
_PING_EVERY: Final = 10
_UNANSWERED_PINGS: Final = 2
"""A peer that vanished without a word is given up within 30 seconds; left alone, nats-py takes 6 minutes."""
_REMIND_EVERY: Final = 10.0
_WATCH_EVERY: Final = 0.5
_CLIENT_PATIENCE: Final = 15.0
"""Seconds that the client is left to reconnect by itself; then another one tries."""


class Connection:
    """One connection to NATS. It reconnects for ever; while it is down, publishing fails at once.

    Nothing is buffered while NATS is away: who publishes must know that it did not happen, and an
    acknowledgement that arrives late could meet another message in a stream that was made anew.

    Args:
        url: servers as `nats://user:password@host:port`, several with commas between them.
        name: how NATS's own monitoring calls us.
    """

    def __init__(self, url: str, name: str) -> None:
        self._servers = [server.strip() for server in url.split(",") if server.strip()]
        if any(server.startswith(("ws://", "wss://")) for server in self._servers):
            load_websockets()
        self._name = name
        self._listeners: list[Callable[[], None]] = []
        self._up = asyncio.Event()
        self._was_up = False
        self._watching: asyncio.Task[None] | None = None
        self._trouble = "no answer"
        self._reminded = float("-inf")
        self._client = Client()
        self._js = self._client.jetstream(timeout=API_TIMEOUT)

    @property
    def client(self) -> Client:
        """The nats-py client of the moment."""
        return self._client

    @property
    def js(self) -> JetStreamContext:
        """JetStream of this connection."""
        return self._js

    @property
    def is_up(self) -> bool:
        """Whether NATS is connected now."""
        return self._client.is_connected

    async def wait_up(self) -> None:
        """Wait until NATS is connected."""
        while not self.is_up:
            self._up.clear()
            await self._up.wait()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the connection was lost or has come back."""
        self._listeners.append(listener)

    async def open(self, give_up_after: float | None) -> None:
        """Connect, for the first time.

        Args:
            give_up_after: seconds; None waits for ever.

        Raises:
            EventsUnavailable: not connected within that time.
        """
        await self._open(give_up_after)
        self._watching = asyncio.create_task(self._watch())

    def open_later(self) -> None:
        """Connect in the background, however long that takes; until then it is down."""
        self._watching = asyncio.create_task(self._open_and_watch())

    async def close(self) -> None:
        """Disconnect, for good."""
        if self._watching:
            self._watching.cancel()
        self._was_up = False
        await _discard(self._client)

    async def _open(self, give_up_after: float | None) -> None:
        client = Client()
        try:
            async with asyncio.timeout(give_up_after):
                await client.connect(
                    servers=self._servers,
                    name=self._name,
                    pending_size=0,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_PAUSE,  # type: ignore[arg-type]  # seconds, fractions too
                    ping_interval=_PING_EVERY,
                    max_outstanding_pings=_UNANSWERED_PINGS,
                    error_cb=self._note_trouble,
                    disconnected_cb=self._note_loss,
                    reconnected_cb=self._note_return,
                )
        except TimeoutError:
            await _discard(client)
            raise EventsUnavailable(f"NATS: {self._trouble}; given up after {give_up_after:g} s") from None
        except (nats.errors.Error, OSError, ValueError):
            await _discard(client)
            raise EventsUnavailable("NATS: nats_url (K_NATS_URL) is not a NATS URL") from None
        self._client = client
        self._js = client.jetstream(timeout=API_TIMEOUT)
        await self._note_return()

    async def _open_and_watch(self) -> None:
        try:
            await self._open(None)
        except EventsUnavailable as error:
            _log.error("NATS cannot be connected", extra={"reason": str(error)})
            return
        await self._watch()

    async def _watch(self) -> None:
        # The client ends itself, with or without a word, on some errors of the server's (credentials expired,
        # too many connections, a message too large); or its task that reconnects may have died.
        down = 0.0
        while True:
            await asyncio.sleep(_WATCH_EVERY)
            down = 0.0 if self.is_up else down + _WATCH_EVERY
            if self._client.is_closed or down > _CLIENT_PATIENCE:
                await self._note_loss()
                await _discard(self._client)
                with contextlib.suppress(EventsUnavailable):
                    await self._open(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _note_trouble(self, error: Exception) -> None:
        if "authorization" in str(error).lower():
            self._trouble = "credentials refused"
        now = asyncio.get_running_loop().time()
        if not self.is_up and now - self._reminded >= _REMIND_EVERY:
            self._reminded = now
            _log.warning("waiting for NATS", extra={"trouble": self._trouble, "error": type(error).__name__})

    async def _note_loss(self) -> None:
        if self._was_up:
            _log.warning("NATS is away")
        self._was_up = False
        self._tell()

    async def _note_return(self) -> None:
        _log.info("NATS is connected")
        self._was_up = True
        self._trouble = "no answer"
        self._up.set()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


async def connect(url: str, name: str, *, give_up_after: float | None = None) -> Connection:
    """Connect to NATS, waiting for it and saying so.

    Use it as `async with await connect(...) as connection`, or close it yourself.

    Args:
        url: servers, as Connection takes them.
        name: how NATS's own monitoring calls us.
        give_up_after: seconds; None waits for ever.

    Raises:
        EventsUnavailable: not connected within that time.
    """
    connection = Connection(url, name)
    await connection.open(give_up_after)
    return connection


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what nats-py raises into EventsUnavailable.

    Args:
        doing: what is being done, the start of the error's text.
    """
    try:
        yield
    except (nats.errors.Error, OSError) as error:
        raise EventsUnavailable(f"{doing}: {_said(error)}") from None


def _said(error: Exception) -> str:
    match error:
        case nats.errors.OutboundBufferLimitError() | nats.errors.ConnectionClosedError():
            return "NATS is away"
        case nats.js.errors.APIError(description=str(text)) if text:
            return text
        case nats.js.errors.ServiceUnavailableError() | nats.errors.NoRespondersError():
            return "JetStream does not answer"
        case nats.js.errors.NoStreamResponseError():
            return "there is no stream"
        case TimeoutError():
            return "NATS did not confirm in time"
        case nats.errors.MaxPayloadError():
            return "larger than NATS takes"
    return f"NATS failed ({type(error).__name__})"


async def _discard(client: Client) -> None:
    with contextlib.suppress(nats.errors.Error, OSError, AssertionError):
        async with asyncio.timeout(API_TIMEOUT):
            await client.close()
