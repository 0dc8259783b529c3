"""One port for all protocols: looks at the first octets of each connection, and hands it on accordingly.

HTTP/2 goes to gRPC by a socket in a folder that only we may enter, everything else to the HTTP server in this
process, with nothing in between.
"""

import asyncio
import logging
import resource
import secrets
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, cast

from api_gateway.grpc_server import GrpcServer, name_for
from api_gateway.preface import Speaks, spoken
from api_gateway.relay import joined
from kannon.core.errors import KannonError

MAX_CONNECTIONS: Final = 4096
FIRST_OCTETS_SECONDS: Final = 10.0
"""For saying what one speaks."""
LAST_OCTETS_SECONDS: Final = 1.0
"""For what has been written when the gateway ends."""
UNHEARD_SECONDS: Final = 60
"""A client that takes in none of what is sent to it for that long is gone (RFC 5482)."""
BACKLOG: Final = 512
_FILES_OF_A_CONNECTION: Final = 3
_FILES_OF_OURS: Final = 128
_ATTEMPTS: Final = 100
_BETWEEN_ATTEMPTS: Final = 0.02

log = logging.getLogger(__name__)


class CannotListen(KannonError):
    """The address cannot be listened on; the text names it and its settings."""


class Http(Protocol):
    """Serves connections that do not speak HTTP/2."""

    async def load(self) -> None:
        """Make ready; to be called before the first connection."""

    def protocol(self, ended: Callable[[], None]) -> asyncio.Protocol:
        """Serves one connection, and says when it has ended."""

    async def stop(self, seconds: float) -> None:
        """End connections, each with the call that is under way on it."""


class Front:
    """The gateway's port.

    Args:
        max_connections: at once; of more, those that have not said what they speak are closed, the oldest
            first.
    """

    def __init__(self, grpc: GrpcServer, http: Http, max_connections: int | None = None) -> None:
        self._grpc = grpc
        self._http = http
        self._room = room_for_connections() if max_connections is None else max_connections
        self._folder = tempfile.TemporaryDirectory(prefix="kannon-gateway-")
        self._server: asyncio.Server | None = None
        self._newcomers: dict[_Newcomer, None] = {}  # in the order in which they came
        self._open: set[asyncio.Transport] = set()
        self._nobody = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        self._handing_on: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen, and serve connections.

        Returns:
            The port; another than `port` if that is 0.

        Raises:
            CannotListen: the address is taken, or not ours to take.
        """
        await self._grpc.start(f"unix:{self._path}")
        loop = asyncio.get_running_loop()
        try:
            if host == "::":  # asyncio alone would leave IPv4 out
                listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
                self._server = await loop.create_server(self._newcomer, sock=listener, backlog=BACKLOG)
            else:
                self._server = await loop.create_server(self._newcomer, host, port, backlog=BACKLOG)
        except OSError:
            await self._grpc.stop(0)
            self._folder.cleanup()
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise CannotListen(
                f"api.port (K_API_PORT), api.host (K_API_HOST): cannot listen on {address}; "
                "is the port in use by another program, or not for this user to take?"
            ) from None
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self, seconds: float) -> None:
        """Take no more connections, and give calls under way that long to end."""
        if self._server is not None:
            self._server.close()
        for newcomer in list(self._newcomers):
            newcomer.transport.abort()
        await asyncio.gather(self._grpc.stop(seconds), self._http.stop(seconds))
        await self._until_all_have_left(LAST_OCTETS_SECONDS)
        for transport in list(self._open):
            transport.abort()
        self._folder.cleanup()

    async def _until_all_have_left(self, seconds: float) -> None:
        """What gRPC wrote last goes out by itself."""
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nobody.wait(), seconds)

    def _forget(self, client: asyncio.Transport) -> None:
        self._open.discard(client)
        if not self._open:
            self._nobody.set()

    @property
    def _path(self) -> str:
        return str(Path(self._folder.name) / "grpc")

    def _newcomer(self) -> "_Newcomer":
        return _Newcomer(self)

    def came(self, newcomer: "_Newcomer") -> None:
        """Take a connection in."""
        self._newcomers[newcomer] = None
        self._open.add(newcomer.transport)
        self._nobody.clear()
        if len(self._open) > self._room:
            oldest = next(iter(self._newcomers))  # at the worst, the one that has just come
            log.warning("too many connections; one is closed", extra={"limit": self._room})
            oldest.transport.abort()

    def left(self, newcomer: "_Newcomer") -> None:
        """Forget a connection that ended before it was handed on."""
        self._newcomers.pop(newcomer, None)
        self._forget(newcomer.transport)

    def told(self, newcomer: "_Newcomer", speaks: Speaks) -> None:
        """Hand a connection on, of which it is known now what it speaks."""
        newcomer.transport.pause_reading()
        self._newcomers.pop(newcomer, None)
        hand_on = self._to_grpc if speaks is Speaks.HTTP_2 else self._to_http
        task = asyncio.create_task(hand_on(newcomer))
        self._handing_on.add(task)
        task.add_done_callback(self._handing_on.discard)

    async def _to_grpc(self, newcomer: "_Newcomer") -> None:
        client = newcomer.transport
        try:
            inner, waiting = await self._inner(peer(client))
        except OSError:
            log.exception("a connection cannot be handed on")
            client.abort()
            return
        if client.is_closing():
            inner.abort()
            return
        inner.write(newcomer.octets)
        client.write(waiting.octets)
        joined(client, inner, lambda: self._forget(client))

    async def _inner(self, client: str) -> "tuple[asyncio.Transport, _Waiting]":
        """A connection to gRPC in the name of a client; reading is paused on it."""
        inner = socket.socket(socket.AF_UNIX)
        try:
            inner.setblocking(False)
            inner.bind(name_for(client, secrets.token_hex(8)))
            for _ in range(_ATTEMPTS):
                try:
                    inner.connect(self._path)
                    break
                except BlockingIOError:  # many are waiting there
                    await asyncio.sleep(_BETWEEN_ATTEMPTS)
            else:
                raise ConnectionRefusedError("too many connections wait for gRPC")
            return await asyncio.get_running_loop().create_unix_connection(_Waiting, sock=inner)
        except BaseException:
            inner.close()
            raise

    async def _to_http(self, newcomer: "_Newcomer") -> None:
        if self._loading is None:
            self._loading = asyncio.create_task(self._http.load())
        await asyncio.shield(self._loading)
        client = newcomer.transport
        if client.is_closing():
            return
        protocol = self._http.protocol(lambda: self._forget(client))
        client.set_protocol(protocol)
        protocol.connection_made(client)
        protocol.data_received(newcomer.octets)
        if not client.is_closing():
            client.resume_reading()


class _Newcomer(asyncio.Protocol):
    """A connection that has not said what it speaks."""

    transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self._front = front
        self.octets = b""
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        self._timer = asyncio.get_running_loop().call_later(FIRST_OCTETS_SECONDS, self.transport.abort)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_SECONDS * 1000)
        self._front.came(self)

    def data_received(self, data: bytes) -> None:
        self.octets += data
        speaks = spoken(self.octets)
        if speaks is not None and not self._told:
            self._told = True
            self._timer.cancel()
            self._front.told(self, speaks)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._timer.cancel()
        self._front.left(self)


class _Waiting(asyncio.Protocol):
    """A connection of which nothing is read yet; uvloop may have begun to before it can be told."""

    def __init__(self) -> None:
        self.octets = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()

    def data_received(self, data: bytes) -> None:
        self.octets += data


def peer(transport: asyncio.Transport) -> str:
    """The IP address from which a connection comes."""
    address: str = (transport.get_extra_info("peername") or ("",))[0]
    return address.removeprefix("::ffff:")


def room_for_connections() -> int:
    """As many as files may be open for, after that limit was raised as far as we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_CONNECTIONS * _FILES_OF_A_CONNECTION + _FILES_OF_OURS
    allowed = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(MAX_CONNECTIONS, (allowed - _FILES_OF_OURS) // _FILES_OF_A_CONNECTION))
