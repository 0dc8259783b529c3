"""The protocols by which the gateway is called, written out octet by octet: no code of the server's is used.

Connect: https://connectrpc.com/docs/protocol. gRPC-Web: PROTOCOL-WEB.md of the gRPC project.
"""

import base64
import gzip
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import unquote

import aiohttp
import grpc
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tests.gateway_client import method_named

CODES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass
class Answer:
    """What came back.

    Attributes:
        code: the name of a gRPC status.
        text: what the status says.
        message: the answer; None if there is none. All of them, where a method answers with a stream.
        retry_after: seconds, as they were given.
    """

    code: str
    text: str = ""
    message: Any = None
    retry_after: str = ""
    http: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Calls(Protocol):
    """Calls by one protocol."""

    async def __call__(self, address: str, procedure: str, request: Message, **headers: str) -> Answer:
        """Call `Service/Method` at `host:port`; `_` in a header's name stands for `-`."""


async def by_grpc(address: str, procedure: str, request: Message, **headers: str) -> Answer:
    """gRPC, by grpcio."""
    method = method_named(procedure)
    async with aio.insecure_channel(address) as channel:
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
        call: Any = kind(
            f"/{path_of(procedure)}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        metadata = aio.Metadata(*_named(headers).items())
        try:
            answer = call(request, metadata=metadata, timeout=30)
            return Answer(
                "OK", message=[one async for one in answer] if method.server_streaming else await answer
            )
        except aio.AioRpcError as error:
            trailers = dict(cast("Any", error.trailing_metadata() or ()))
            return Answer(
                error.code().name, error.details() or "", None, str(trailers.get("retry-after", ""))
            )


async def by_connect_json(address: str, procedure: str, request: Message, **headers: str) -> Answer:
    """Connect, with JSON."""
    body = MessageToJson(request).encode()
    if method_named(procedure).server_streaming:
        return await _connect_stream(address, procedure, body, "json", headers)
    status, answered, came = await post(address, procedure, body, "application/json", headers)
    if status != 200:
        return _connect_error(status, answered, came)
    message = Parse(came, GetMessageClass(method_named(procedure).output_type)())
    return Answer("OK", message=message, headers=answered)


async def by_connect_protobuf(address: str, procedure: str, request: Message, **headers: str) -> Answer:
    """Connect, with protobuf, and compressed."""
    if method_named(procedure).server_streaming:
        return await _connect_stream(address, procedure, request.SerializeToString(), "proto", headers)
    body = gzip.compress(request.SerializeToString())
    more = {**headers, "content_encoding": "gzip", "connect_protocol_version": "1"}
    status, answered, came = await post(address, procedure, body, "application/proto", more)
    if status != 200:
        return _connect_error(status, answered, came)
    message = GetMessageClass(method_named(procedure).output_type).FromString(came)
    return Answer("OK", message=message, headers=answered)


async def by_grpc_web(address: str, procedure: str, request: Message, **headers: str) -> Answer:
    """gRPC-Web."""
    kind = "application/grpc-web+proto"
    status, answered, came = await post(address, procedure, framed(request), kind, headers)
    assert answered["content-type"] == kind, came
    return _from_frames(procedure, status, answered, came)


async def by_grpc_web_text(address: str, procedure: str, request: Message, **headers: str) -> Answer:
    """gRPC-Web in base64, of which each half was padded by itself."""
    whole, kind = framed(request), "application/grpc-web-text"
    text = base64.b64encode(whole[:7]) + base64.b64encode(whole[7:])
    status, answered, came = await post(address, procedure, text, kind, headers)
    assert answered["content-type"].startswith(kind), came
    return _from_frames(procedure, status, answered, unpadded(came))


PROTOCOLS: Mapping[str, Calls] = {
    "gRPC": by_grpc,
    "Connect JSON": by_connect_json,
    "Connect protobuf": by_connect_protobuf,
    "gRPC-Web": by_grpc_web,
    "gRPC-Web text": by_grpc_web_text,
}


def path_of(procedure: str) -> str:
    """`package.Service/Method` of `Service/Method`."""
    method = method_named(procedure)
    return f"{method.containing_service.full_name}/{method.name}"


async def post(
    address: str, procedure: str, body: bytes, kind: str, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body that answer a POST."""
    given = {**_named(headers), "content-type": kind}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}/{path_of(procedure)}", data=body, headers=given) as answer,
    ):
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()


def framed(request: Message) -> bytes:
    """A message as one frame."""
    return in_frame(request.SerializeToString())


def in_frame(octets: bytes) -> bytes:
    """Octets as one frame."""
    return struct.pack(">BI", 0, len(octets)) + octets


def frames(octets: bytes) -> list[tuple[int, bytes]]:
    """Flags and content of each frame."""
    found = []
    while octets:
        flags, length = struct.unpack(">BI", octets[:5])
        found.append((flags, octets[5 : 5 + length]))
        assert len(found[-1][1]) == length
        octets = octets[5 + length :]
    return found


def unpadded(text: bytes) -> bytes:
    """What is said in pieces of base64."""
    return b"".join(base64.b64decode(text[i : i + 4], validate=True) for i in range(0, len(text), 4))


def trailers_of(octets: bytes) -> dict[str, str]:
    """The trailers of gRPC-Web."""
    lines = octets.decode().split("\r\n")
    assert lines.pop() == ""
    return {
        name.lower(): unquote(value.strip()) for name, _, value in (line.partition(":") for line in lines)
    }


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def _connect_stream(
    address: str, procedure: str, body: bytes, codec: str, headers: Mapping[str, str]
) -> Answer:
    kind = f"application/connect+{codec}"
    status, answered, came = await post(address, procedure, in_frame(body), kind, headers)
    assert (status, answered["content-type"]) == (200, kind), came
    *messages, (flags, last) = frames(came)
    assert flags == 2
    if error := json.loads(last).get("error"):
        return Answer(error["code"].upper(), error.get("message", ""), None, "", status, answered)
    output = GetMessageClass(method_named(procedure).output_type)
    read = [Parse(one, output()) if codec == "json" else output.FromString(one) for _, one in messages]
    return Answer("OK", message=read, headers=answered)


def _connect_error(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    assert headers["content-type"] == "application/json", body
    said = json.loads(body)
    code, text = said["code"].upper(), said.get("message", "")
    return Answer(code, text, None, headers.get("retry-after", ""), status, headers)


def _from_frames(procedure: str, status: int, headers: Mapping[str, str], octets: bytes) -> Answer:
    assert status == 200
    *messages, (flags, last) = frames(octets)
    assert flags == 0x80
    trailers = trailers_of(last)
    code = CODES[int(trailers["grpc-status"])]
    method = method_named(procedure)
    assert {flags for flags, _ in messages} <= {0}
    read = [GetMessageClass(method.output_type).FromString(content) for _, content in messages]
    message: Any = None
    if code == "OK":
        message = read if method.server_streaming else read[0]
    return Answer(
        code, trailers.get("grpc-message", ""), message, trailers.get("retry-after", ""), status, headers
    )
