"""What the gateway says over HTTP/1.1: by Connect, by gRPC-Web, and to those who speak neither."""

import asyncio
import base64
import gzip
import json
import struct
import subprocess
import sys
from typing import Any

import aiohttp
import pytest
from google.protobuf.wrappers_pb2 import UInt32Value

from api_gateway.endpoints import Access
from api_gateway.refusals import NotFound
from kannon.adapters.pb import admin_pb2
from kannon.core.errors import LedgerUnavailable
from tests.counting_service import COUNT
from tests.protocols import frames, trailers_of, unpadded
from tests.small_gateway import HZ, MAX_MESSAGE, TOKEN, SmallGateway, small_gateway

JSON = "application/json"
PAGE = "https://app.example.com"
COUNTED = struct.pack(">BI", 0, 2) + UInt32Value(value=3).SerializeToString()


async def asked(
    gateway: SmallGateway, path: str = HZ, body: bytes = b"{}", method: str = "POST", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body as they came; `_` in a header's name stands for `-`."""
    named = {"content-type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, f"http://{gateway.address}/{path}", data=body, headers=named) as answer,
    ):
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()


async def refusal(gateway: SmallGateway, **given: Any) -> tuple[int, str, str]:
    """HTTP status, Connect's code and its text."""
    status, headers, body = await asked(gateway, **given)
    assert headers["content-type"] == JSON
    said = json.loads(body)
    return status, said["code"], said["message"]


async def test_health_is_asked_for_without_credentials() -> None:
    async with small_gateway() as gateway:
        status, _, body = await asked(gateway, path="healthz", method="GET", body=b"")
        assert (status, json.loads(body)) == (200, {"status": "ok"})
        assert (await asked(gateway, path="healthz"))[0] == 405


async def test_what_is_not_there_and_what_is_of_no_known_kind() -> None:
    async with small_gateway() as gateway:
        status, code, _ = await refusal(gateway, path="pkg.kannon.admin.apiv1.HZService/Other")
        assert (status, code) == (404, "unimplemented")
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/grpc", ""):
            status, _, text = await refusal(gateway, content_type=kind)
            assert status == 415
            assert "application/json" in text
        assert (await asked(gateway, method="GET", body=b""))[0] == 405
        assert (await asked(gateway, content_type="Application/JSON; charset=utf-8"))[0] == 200
        assert gateway.answers.calls[0].procedure == HZ


@pytest.mark.parametrize(
    ("error", "status", "code", "text"),
    [
        (NotFound("there is no such thing: ü"), 404, "not_found", "there is no such thing: ü"),
        (LedgerUnavailable("away", 1.5), 503, "unavailable", "away"),
        (ValueError("secret"), 500, "internal", "internal error"),
    ],
)
async def test_errors_are_told_in_the_words_of_each_protocol(
    error: Exception, status: int, code: str, text: str
) -> None:
    async with small_gateway() as gateway:
        gateway.answers.error = error
        assert await refusal(gateway) == (status, code, text)
        http, headers, _ = await asked(gateway)
        again = "2" if status == 503 else None
        assert headers.get("retry-after") == again
        http, _, body = await asked(gateway, body=bytes(5), content_type="application/grpc-web")
        ((flags, last),) = frames(body)
        trailers = trailers_of(last)
        assert (http, flags, trailers["grpc-message"], trailers.get("retry-after")) == (
            200,
            0x80,
            text,
            again,
        )


async def test_credentials_are_asked_for_before_the_body_is_read() -> None:
    async with small_gateway(access=Access.ADMIN_TOKEN) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"POST /{HZ} HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: 200000\r\n"
        writer.write(f"{head}expect: 100-continue\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        assert answer == b"HTTP/1.1 401 Unauthorized\r\n", "and nobody was told to continue"
        writer.close()


async def test_a_request_may_be_as_large_as_said_and_no_larger() -> None:
    kept = json.dumps({"x": "y" * (MAX_MESSAGE - 100)}).encode()
    large = json.dumps({"x": "y" * (MAX_MESSAGE + 100)}).encode()

    async def in_pieces() -> Any:
        for start in range(0, len(large), 50_000):
            yield large[start : start + 50_000]

    async with small_gateway() as gateway:
        assert (await asked(gateway, body=kept))[0] == 200
        assert (await refusal(gateway, body=large))[:2] == (413, "resource_exhausted")
        assert (await refusal(gateway, body=in_pieces()))[:2] == (413, "resource_exhausted")
        assert len(gateway.answers.calls) == 1


async def test_compressed_requests_are_no_way_around_that() -> None:
    bomb = gzip.compress(bytes(200_000_000))
    async with small_gateway() as gateway:
        assert (await asked(gateway, body=gzip.compress(b"{}"), content_encoding="gzip"))[0] == 200
        refused = await refusal(gateway, body=bomb[: MAX_MESSAGE - 10], content_encoding="gzip")
        assert refused[:2] == (429, "resource_exhausted")
        assert (await refusal(gateway, body=b"no", content_encoding="gzip"))[1] == "invalid_argument"
        assert (await refusal(gateway, body=b"no", content_encoding="br"))[1] == "unimplemented"
        assert len(gateway.answers.calls) == 1


async def test_answers_are_compressed_for_those_who_ask() -> None:
    async with small_gateway() as gateway:
        gateway.answers.answer = admin_pb2.HZResponse(result={"x": "y" * 10_000})
        _, headers, body = await asked(gateway, accept_encoding="gzip")
        assert (headers["content-encoding"], len(body) < 1000) == ("gzip", True)
        assert json.loads(gzip.decompress(body)) == {"result": {"x": "y" * 10_000}}
        assert "gzip" not in (await asked(gateway, accept_encoding=""))[1].get("content-encoding", "")


async def test_a_deadline_of_the_callers_is_kept() -> None:
    async with small_gateway(waiting=True) as gateway:
        assert (await refusal(gateway, connect_timeout_ms="50"))[:2] == (504, "deadline_exceeded")
        assert (await refusal(gateway, connect_timeout_ms="x"))[1] == "invalid_argument"


async def test_headers_that_are_no_text_are_refused() -> None:
    async with small_gateway() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(f"POST /{HZ} HTTP/1.1\r\nhost: x\r\nx: ".encode() + b"\xff\r\n\r\n")
        assert b" 400 " in await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        writer.close()


async def test_two_credentials_are_none() -> None:
    async with small_gateway(access=Access.ADMIN_TOKEN) as gateway:
        assert (await asked(gateway, x_kannon_admin_token=TOKEN))[0] == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        lines = [f"POST /{HZ} HTTP/1.1", "host: x", f"content-type: {JSON}", "content-length: 0"]
        lines += [f"x-kannon-admin-token: {TOKEN}"] * 2
        writer.write("\r\n".join([*lines, "", ""]).encode())
        assert b" 401 " in await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        writer.close()


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(("below", "status"), [(3, "0"), (20, "5")])
async def test_a_stream_by_grpc_web(text: bool, below: int, status: str) -> None:
    request = struct.pack(">BI", 0, 2) + UInt32Value(value=below).SerializeToString()
    body, kind = (base64.b64encode(request), "-text") if text else (request, "")
    async with small_gateway() as gateway:
        _, headers, came = await asked(
            gateway, COUNT, body, content_type=f"application/grpc-web{kind}", x_kannon_admin_token=TOKEN
        )
        assert headers["content-type"].startswith(f"application/grpc-web{kind}")
        *messages, (flags, last) = frames(unpadded(came) if text else came)
        numbers = [UInt32Value.FromString(octets).value for _, octets in messages]
        assert numbers == list(range(min(below, 13)))
        assert (flags, trailers_of(last)["grpc-status"]) == (0x80, status)


@pytest.mark.parametrize(("below", "error"), [(3, None), (20, "not_found")])
async def test_a_stream_by_connect(below: int, error: str | None) -> None:
    body = struct.pack(">BI", 0, 2) + UInt32Value(value=below).SerializeToString()
    async with small_gateway() as gateway:
        _, _, came = await asked(
            gateway, COUNT, body, content_type="application/connect+proto", x_kannon_admin_token=TOKEN
        )
        *messages, (flags, last) = frames(came)
        numbers = [UInt32Value.FromString(octets).value for _, octets in messages]
        assert numbers == list(range(min(below, 13)))
        assert (flags, json.loads(last).get("error", {}).get("code")) == (2, error)


async def test_a_stream_asks_for_credentials_by_both() -> None:
    async with small_gateway() as gateway:
        _, _, came = await asked(gateway, COUNT, COUNTED, content_type="application/connect+proto")
        ((_, last),) = frames(came)
        assert json.loads(last)["error"]["code"] == "unauthenticated"
        _, _, came = await asked(gateway, COUNT, COUNTED, content_type="application/grpc-web")
        ((_, last),) = frames(came)
        assert trailers_of(last)["grpc-status"] == "16"


async def test_scripts_of_no_page_may_call_unless_it_is_listed() -> None:
    wanted = {
        "origin": PAGE,
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization, content-type, x-grpc-web",
    }
    async with small_gateway() as gateway:
        status, headers, _ = await asked(gateway, method="OPTIONS", body=b"", **wanted)
        assert status == 405
        _, headers, _ = await asked(gateway, origin=PAGE)
        assert "access-control-allow-origin" not in headers
    async with small_gateway(origins=(PAGE,)) as gateway:
        status, headers, _ = await asked(gateway, method="OPTIONS", body=b"", **wanted)
        assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
        _, headers, _ = await asked(gateway, origin=PAGE)
        assert headers["access-control-allow-origin"] == PAGE
        assert "grpc-status" in headers["access-control-expose-headers"].lower()
        _, headers, _ = await asked(gateway, origin="https://other.example.com")
        assert "access-control-allow-origin" not in headers


def test_nothing_of_http_is_loaded_before_it_is_spoken() -> None:
    names = "'uvicorn', 'starlette', 'connectrpc', 'pyqwest', 'api_gateway.http'"
    look = f"import sys, api_gateway.main; print([n for n in ({names}) if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
