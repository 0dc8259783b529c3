"""gRPC-Web in text: the same octets in base64, for browsers that read no others while they come."""

import binascii
import re
from typing import Final

from starlette.types import Message, Receive, Scope, Send

TEXT: Final = "application/grpc-web-text"
BINARY: Final = "application/grpc-web"
_WHITE_SPACE: Final = b" \t\r\n"
_SEGMENT: Final = re.compile(rb"[^=]*={0,2}")
_NO_MESSAGE: Final = b"\xff"
"""An envelope that there is not: what reads it refuses the request."""


def as_binary(scope: Scope) -> Scope:
    """The same request, said to be binary."""
    headers = [
        (name, value.replace(TEXT.encode(), BINARY.encode(), 1) if name == b"content-type" else value)
        for name, value in scope["headers"]
    ]
    return {**scope, "headers": headers}


def octets_of_text(receive: Receive) -> Receive:
    """Reads base64; it may consist of several pieces that were padded one by one."""
    rest = b""

    async def received() -> Message:
        nonlocal rest
        message = await receive()
        if message["type"] != "http.request":
            return message
        text = rest + message.get("body", b"").translate(None, _WHITE_SPACE)
        whole = len(text) if not message.get("more_body", False) else len(text) // 4 * 4
        rest = text[whole:]
        try:
            body = b"".join(map(_decoded, _SEGMENT.findall(text[:whole])))
        except binascii.Error:
            return {"type": "http.request", "body": _NO_MESSAGE, "more_body": False}
        return {**message, "body": body}

    return received


def as_text(send: Send) -> Send:
    """Writes each piece of a response in base64."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name, value.replace(BINARY.encode(), TEXT.encode(), 1) if name == b"content-type" else value)
                for name, value in message["headers"]
            ]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            message = {**message, "body": binascii.b2a_base64(message.get("body", b""), newline=False)}
        await send(message)

    return sent


def _decoded(segment: bytes) -> bytes:
    return binascii.a2b_base64(segment, strict_mode=True) if segment else b""
