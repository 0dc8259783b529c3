"""Ports to listen on, and whether something listens there."""

import asyncio
import errno
import random
import socket
from collections import deque
from pathlib import Path

from kannon.cli.standalone.errors import PortUnavailable

_LOOPBACK = "127.0.0.1"
_FIRST_UNPRIVILEGED_CHOICE = 15_000
_ATTEMPTS = 200
_KEPT_ASIDE = 128
"""Of the ports that this process found last: by then the servers of the others listen, or never will."""
_SET_ASIDE: deque[socket.socket] = deque()


def free_port(in_a_row: int = 1) -> int:
    """Find a port of 127.0.0.1 that nobody listens on, and that nobody else who asks here is about to; of
    several in a row the first.

    The port lies below those the kernel hands out to connecting clients, if there is room: a server that is
    restarted finds such a port free again, where one from that range may have become some client's own end
    (in the worst case of a client that tried to reach this very server, and reached itself).
    """
    ceiling = _first_ephemeral_port()
    if ceiling - _FIRST_UNPRIVILEGED_CHOICE > _ATTEMPTS:
        for _ in range(_ATTEMPTS):
            first = random.randrange(_FIRST_UNPRIVILEGED_CHOICE, ceiling - in_a_row)  # noqa: S311 - nothing secret
            if all(_is_to_be_had(port) for port in range(first, first + in_a_row)):
                return first
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


def check_port(port: int, setting: str, *, host: str = _LOOPBACK) -> None:
    """Make sure that a configured port can be listened on.

    Args:
        port: the port.
        setting: the key it is configured by, as `api.port`.
        host: the address it will be bound to.

    Raises:
        PortUnavailable: it is taken, or needs rights we lack; the text names port, key and variable.
    """
    refusal = _refusal(host, port)
    if refusal is None:
        return
    variable = "K_" + setting.upper().replace(".", "_").replace("-", "_")
    elsewhere = f"set {setting} / {variable} to another port"
    if refusal.errno == errno.EADDRINUSE:
        raise PortUnavailable(
            f"port {port} ({setting}) is in use by another program; stop that program, or {elsewhere}"
        )
    if refusal.errno in (errno.EACCES, errno.EPERM):
        raise PortUnavailable(
            f"port {port} ({setting}) may not be listened on by this user; run as root, lower "
            f"net.ipv4.ip_unprivileged_port_start to {port}, or {elsewhere}"
        )
    raise PortUnavailable(
        f"port {port} ({setting}) cannot be listened on at {host}: {refusal.strerror}; {elsewhere}"
    )


def as_client(host: str) -> str:
    """The address by which a client on this machine reaches a server that listens on `host`."""
    return {"": _LOOPBACK, "0.0.0.0": _LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - not bound here


async def accepts_connections(port: int, *, host: str = _LOOPBACK) -> bool:
    """Tell whether something accepts TCP connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def answers_http(port: int, path: str, *, host: str = _LOOPBACK) -> bool:
    """Tell whether an HTTP server there answers a GET of the path with 2xx."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split()
    except OSError:
        return False
    finally:
        writer.close()
    return len(status) > 1 and status[0].startswith(b"HTTP/") and status[1].startswith(b"2")


def _refusal(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As servers do, so that connections of a past listener which only fade out do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error
    return None


def _is_to_be_had(port: int) -> bool:
    return _refusal(_LOOPBACK, port) is None and _set_aside(port)


def _set_aside(port: int) -> bool:
    """Keep this port from being found again, in this process and in others, before its server listens; gives
    whether nobody else had. The sign is a socket without a file (unix(7)), which ends with the process."""
    sign = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sign.bind(f"\0kannon-port-{port}")
    except OSError:
        sign.close()
        return False
    _SET_ASIDE.append(sign)
    if len(_SET_ASIDE) > _KEPT_ASIDE:
        _SET_ASIDE.popleft().close()
    return True


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
