"""HTTP as uvicorn has it, to requests and answers. Nothing is routed: there are three paths."""

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from functions.track.answers import FAILED, NOT_FOUND, TOO_LARGE, Answer, told
from functions.track.handler import Track
from functions.track.requests import Request

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY: Final = 8_192
_PUBLIC: Final = "stats."
"""How every host begins that the public comes to."""


class TrackApp:
    """The ASGI application of HTTP requests.

    Args:
        state: JSON that tells how the process does. It is at `/`, for those who reach it by another host than
            the public.
    """

    def __init__(self, track: Track, state: Callable[[], bytes]) -> None:
        self._track = track
        self._state = state

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
        except Exception:
            log.exception("a request failed")
            answer = FAILED
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> Answer:
        body = await _body(receive) if scope["method"] == "POST" else b""
        if body is None:
            return TOO_LARGE
        peer = scope["client"]
        request = Request(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            peer=peer[0] if peer else "",
            headers=_headers(scope["headers"]),
            body=body,
        )
        if request.path == "/":
            return NOT_FOUND if request.host.lower().startswith(_PUBLIC) else told(self._state())
        return await self._track.answer(request)


def _headers(given: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in given:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def _body(receive: Receive) -> bytes | None:
    """The body; None if it is too large."""
    body = b""
    while len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body if len(body) <= MAX_BODY else None
    return None
