"""Posts events by HTTP in the binary mode of CloudEvents, as a SinkBinding has it; tells what came of it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import aiohttp

from kannon.core.answers import Answer, Fault, seconds_of
from kannon.runtime.binding import Binding, Token

ITEMS_HEADER: Final = "Kannon-Items"

_ATTRIBUTE: Final = re.compile(r"ce-[a-z0-9]+")
_TEXT_BYTES: Final = 200
_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")
_KEEP_ALIVE: Final = 30.0
"""Seconds; shorter than servers keep idle connections, so that a request does not meet a closing one."""


class Sink:
    """Where events go.

    Args:
        url: `http` or `https`.
        name: of the part that posts them.
        binding: overrides, certificates and token.
        timeout: seconds that a request may take.
        connect_timeout: seconds that a connection may take.

    Raises:
        SettingsError: certificates that cannot be read.
    """

    def __init__(
        self, url: str, binding: Binding, *, name: str, timeout: float, connect_timeout: float
    ) -> None:
        self._url = url
        self._name = name
        self._overrides = binding.overrides
        self._token = Token(binding.token_file)
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=connect_timeout)
        self._trust = binding.trust() if url.startswith("https:") else True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ssl=self._trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
            headers={"user-agent": f"kannon-{self._name}"},
            skip_auto_headers=("accept", "accept-encoding"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def post(
        self, attributes: Mapping[str, str], data: bytes, items: str = "", traceparent: str = ""
    ) -> Answer:
        """Post an event.

        Args:
            attributes: its headers; those of CloudEvents and the content type are passed on.
            items: of a chunk only these are to be handled; the signed event itself travels whole.
            traceparent: of this request, for the event and for what is on its way (W3C trace context).
        """
        assert self._session, "a Sink is a context"
        headers = {
            name: value
            for name, value in attributes.items()
            if _ATTRIBUTE.fullmatch(name) or name == "content-type"
        }
        if traceparent:
            headers |= {"ce-traceparent": traceparent, "traceparent": traceparent}
        headers |= self._overrides
        headers |= self._token.headers()
        if items:
            headers[ITEMS_HEADER] = items
        try:
            return await self._post(self._session, headers, data)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Answer(Fault.UNREACHED, text=type(error).__name__)
        except TimeoutError:
            return Answer(Fault.TIMED_OUT)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Fault.BROKEN_OFF, text=type(error).__name__)
        except ValueError:
            return Answer(Fault.UNSENDABLE)

    async def _post(self, session: aiohttp.ClientSession, headers: Mapping[str, str], data: bytes) -> Answer:
        async with session.post(self._url, data=data, headers=headers, allow_redirects=False) as response:
            text = (await response.content.read(_TEXT_BYTES)).decode("latin-1")
            if 200 <= response.status < 300:
                return Answer(response.status)
            retry_after = response.headers.get("retry-after", "")
            return Answer(
                response.status,
                seconds_of(retry_after, datetime.now(UTC)),
                _NOT_PRINTABLE.sub(" ", text).strip(),
            )
