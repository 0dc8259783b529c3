"""Posts to webhooks over HTTP/1.1, at addresses that were checked: implements `ports.WebhookPoster`.

A connection is made for each post, to an address that was looked up and checked for this post. What a name
resolves to may change between any two questions, so nobody asks a second time: the socket gets the address,
TLS and the `Host` header the name (RFC 9110 §4.3.4, §7.2). Redirects are answers like others: not followed.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import httptools

from kannon.core.answers import seconds_of
from kannon.core.errors import KannonError, Unavailable
from kannon.core.exchangers import IpNetwork
from kannon.core.webhooks import Endpoint, PostResult, may_post

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Gives the addresses of a host; raises Unavailable if the DNS does not answer."""

MAX_ANSWER: Final = 16_384
"""Octets that are read of an answer, its headers and body together; only status and `Retry-After` matter."""
CONNECT_SECONDS: Final = 5.0
_ADDRESSES_TRIED: Final = 3
_LONGEST_RETRY_AFTER: Final = 86_400.0  # seconds


class _NoAnswer(KannonError):
    """There is no answer; the text is the reason, as a word."""


class HttpWebhookPoster:
    """Posts, and tells what came of it in words that show nothing of what was answered.

    Args:
        allowed: networks that may be posted to though they are not public, and without TLS.
        timeout: seconds for all of a post.
        trust: certificate authorities; the system's where there are none.
    """

    def __init__(
        self,
        resolve: Resolve,
        allowed: Sequence[IpNetwork],
        timeout: float,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._timeout = timeout
        self._given_trust = trust

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """Read when it is needed: that takes a process that starts 30 ms and more."""
        return self._given_trust or ssl.create_default_context()

    async def post(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> PostResult:
        """See `ports.WebhookPoster`."""
        begun = time.monotonic()
        status, error, retry_after = 0, "", timedelta()
        try:
            async with asyncio.timeout(self._timeout):
                parsed = await self._exchange(endpoint, _written(endpoint, headers, body))
                status, retry_after = parsed.status, parsed.retry_after
        except TimeoutError:
            error = "timed_out"
        except _NoAnswer as reason:
            error = str(reason)
        except UnicodeError:  # TLS takes no name with a label that is empty or too long, and nor has DNS one
            error = "no_address"
        except ssl.SSLCertVerificationError:
            error = "certificate"
        except ssl.SSLError:
            error = "tls"
        except OSError:
            error = "broken_off"
        return PostResult(status, timedelta(seconds=time.monotonic() - begun), error, retry_after)

    async def _exchange(self, endpoint: Endpoint, request: bytes) -> "_Parsed":
        reader, writer = await self._connected(endpoint)
        try:
            writer.write(request)
            return await _answer(reader)
        finally:
            # Not closed in order: who answers has nothing more to say, and who does not is not waited for.
            writer.transport.abort()

    async def _connected(self, endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            found = await self._resolve(endpoint.host)
        except Unavailable:
            raise _NoAnswer("dns") from None
        if not found:
            raise _NoAnswer("no_address")
        checked = [address for address in found if may_post(endpoint, address, self._allowed)]
        if not checked:
            raise _NoAnswer("forbidden_address")
        for address in checked[:_ADDRESSES_TRIED]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(
                        address,
                        endpoint.port,
                        ssl=self._trust if endpoint.is_secure else None,
                        server_hostname=endpoint.host if endpoint.is_secure else None,
                        limit=MAX_ANSWER,
                    )
            except ssl.SSLError:
                raise
            except (OSError, TimeoutError):
                continue
        raise _NoAnswer("unreachable")


def _written(endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"POST {endpoint.target} HTTP/1.1",
        f"host: {endpoint.authority}",
        "connection: close",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


async def _answer(reader: asyncio.StreamReader) -> "_Parsed":
    parsed = _Parsed()
    parser = parsed.parser
    octets = 0
    while not parsed.is_complete and octets < MAX_ANSWER:
        piece = await reader.read(MAX_ANSWER - octets)
        if not piece:
            break
        octets += len(piece)
        try:
            parser.feed_data(piece)
        except httptools.HttpParserError:
            raise _NoAnswer("no_http") from None
    if not parsed.status:
        raise _NoAnswer("no_http" if octets else "broken_off")
    return parsed


class _Parsed:
    """What of an answer matters; the parser calls its methods."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.retry_after = timedelta()
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            asked = seconds_of(value.decode("latin-1").strip(), datetime.now(UTC))
            self.retry_after = timedelta(seconds=min(asked, _LONGEST_RETRY_AFTER))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        self.status = status if status >= 200 else 0  # others come before the answer (RFC 9110 §15.2)

    def on_message_complete(self) -> None:
        self.is_complete = self.status > 0
