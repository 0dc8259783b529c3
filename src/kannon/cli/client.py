"""Calls to a gateway, as the commands make them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import click
import grpc

from kannon.core.errors import KannonError

TIMEOUT = 30.0
MAX_MESSAGE = 64 * 1024 * 1024
T = TypeVar("T")


class CallFailed(KannonError):
    """The gateway refused a call, or does not answer.

    Attributes:
        exit_code: 1 refused, 3 not reachable.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@asynccontextmanager
async def gateway(api: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the gateway at `api`; what gRPC raises comes out as CallFailed."""
    host, _, port = api.rpartition(":")
    if not (host and port.isdecimal()):
        raise click.BadParameter(f"{api!r} is not of the form host:port", param_hint="--api")
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE),
        ("grpc.max_receive_message_length", MAX_MESSAGE),
    ]
    async with grpc.aio.insecure_channel(api, options=options) as channel:
        try:
            yield channel
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                hint = "does `kannon standalone` run there? (--api, KANNON_API, api.port)"
                raise CallFailed(f"{api}: {details or code.name.lower()}; {hint}", exit_code=3) from None
            raise CallFailed(f"{details} ({code.name})") from None


def call(api: str, make: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Make one call to the gateway at `api`, and wait for its answer.

    Raises:
        CallFailed: it was refused, or the gateway does not answer.
    """

    async def run() -> T:
        async with gateway(api) as channel:
            return await make(channel)

    return asyncio.run(run())


def admin_metadata(token: str) -> Sequence[tuple[str, str]]:
    """What an administrator's call carries.

    Raises:
        click.BadParameter: the token cannot stand in a header.
    """
    if not (token.isascii() and token.isprintable()):
        raise click.BadParameter("printable ASCII is needed", param_hint="--admin-token")
    return (("x-kannon-admin-token", token),)


def key_metadata(domain: str, key: str) -> Sequence[tuple[str, str]]:
    """What an application's call carries (Basic authentication, RFC 7617)."""
    return (("authorization", "Basic " + base64.b64encode(f"{domain}:{key}".encode()).decode()),)
