"""The gateway's port, when who comes is slow, rude, many or about to be sent away."""

import asyncio
import stat
from pathlib import Path

import aiohttp
import pytest
from grpc import aio

from api_gateway import front
from api_gateway.front import CannotListen
from api_gateway.http import server as http_server
from api_gateway.preface import PREFACE
from kannon.adapters.pb import admin_pb2
from tests.both_loops import event_loop_policy, loop  # noqa: F401
from tests.conftest import Eventually
from tests.small_gateway import HZ, SmallGateway, small_gateway

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = f"POST /{HZ} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()
SOON = 0.2
"""Seconds, in place of those that one is given."""


class Wire:
    """A connection, octet by octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def hear(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), 10)

    async def rest(self) -> bytes:
        """All that comes until the other side ends; an abrupt end is one, too."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.writer.close()


async def connected(gateway: SmallGateway, *, source: str = "127.0.0.1") -> Wire:
    return Wire(*await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=(source, 0)))


async def test_a_request_may_come_octet_by_octet() -> None:
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        for octet in REQUEST:
            wire.say(bytes([octet]))
            await wire.writer.drain()
            await asyncio.sleep(0)
        assert (await wire.hear(b"\r\n")).startswith(b"HTTP/1.1 200")
        wire.close()


async def test_the_preface_of_http_2_may_come_in_two_pieces() -> None:
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        wire.say(PREFACE[:1])
        await wire.writer.drain()
        wire.say(PREFACE[1:] + bytes(3) + b"\x04" + bytes(5))  # and empty SETTINGS (RFC 9113 §6.5)
        frame = await asyncio.wait_for(wire.reader.readexactly(9), 10)
        assert frame[3] == 4, "SETTINGS are answered by SETTINGS"
        wire.close()


@pytest.mark.parametrize(
    "first",
    [b"\x16\x03\x01\x02\x00\x01", b"\x00" * 100, b"EHLO x\r\n", b"\xff" * 9],
)
async def test_what_is_no_protocol_of_ours_is_refused(first: bytes) -> None:
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        wire.say(first)
        assert (await wire.rest()).startswith(b"HTTP/1.1 400 ")


async def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "FIRST_OCTETS_SECONDS", SOON)
    async with small_gateway() as gateway:
        silent, one_octet = await connected(gateway), await connected(gateway)
        one_octet.say(b"P")
        assert (await silent.rest(), await one_octet.rest()) == (b"", b"")


@pytest.mark.parametrize("said", [b"\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: ", REQUEST[:-1]])
async def test_a_head_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", SOON)
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        wire.say(said)
        assert await wire.rest() == b""
        again = await connected(gateway)
        again.say(REQUEST)
        await again.hear(b'"ok"}')
        again.say(said)  # in place of a second request
        assert await again.rest() == b""


async def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_SECONDS", SOON)
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        wire.say(HEAD + b"content-length: 100\r\n\r\n{")
        assert await wire.rest() == b""
        assert gateway.answers.calls == []


async def test_a_slow_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", SOON / 4)
    monkeypatch.setattr(http_server, "BODY_SECONDS", SOON / 4)
    async with small_gateway(waiting=True) as gateway:
        wire = await connected(gateway)
        wire.say(HEAD + b"content-length: 2\r\n\r\n{}")
        asyncio.get_running_loop().call_later(SOON, gateway.answers.go.set)
        assert (await wire.hear(b"\r\n")).startswith(b"HTTP/1.1 200")
        wire.close()


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        body = HEAD + b"content-length: 2\r\n\r\n{}"
        wire.say(REQUEST + body + b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in await wire.hear(b'"ok"}')
        assert b"200 OK" in await wire.hear(b"{}\r\n0\r\n\r\n")
        assert b"404 Not Found" in await wire.rest()


@pytest.mark.parametrize(
    "header",
    [b"x: " + b"y" * 1_000_000, b"".join(b"x%d: y\r\n" % i for i in range(100_000)), b"x" * 200_000],
    ids=["one value", "many", "one name"],
)
async def test_headers_have_bounds(header: bytes) -> None:
    async with small_gateway() as gateway:
        wire = await connected(gateway)
        wire.say(b"GET /healthz HTTP/1.1\r\n" + header)
        assert (await wire.rest() or b"HTTP/1.1 431 ").startswith(b"HTTP/1.1 431 ")
        large = await connected(gateway)
        large.say(REQUEST[:-2] + b"x: " + b"y" * 50_000 + b"\r\n\r\n")
        assert (await large.hear(b"\r\n")).startswith(b"HTTP/1.1 200")
        large.close()


async def test_of_too_many_connections_the_oldest_goes_that_has_said_nothing() -> None:
    async with small_gateway(max_connections=3) as gateway:
        known = await connected(gateway)
        known.say(REQUEST)
        await known.hear(b'"ok"}')
        silent = [await connected(gateway) for _ in range(3)]
        assert await silent[0].rest() == b""
        known.say(REQUEST)
        await known.hear(b'"ok"}')
        silent[2].say(REQUEST)
        assert (await silent[2].hear(b"\r\n")).startswith(b"HTTP/1.1 200")
        for wire in (known, *silent):
            wire.close()


async def test_a_call_knows_where_it_comes_from() -> None:
    async with small_gateway() as gateway:
        wire = await connected(gateway, source="127.0.0.7")
        wire.say(HEAD + b"content-length: 2\r\n\r\n{}")
        await wire.hear(b"{}\r\n")
        async with aio.insecure_channel(gateway.address) as channel:
            await channel.unary_unary(f"/{HZ}", bytes, bytes)(b"")
        assert [call.caller.client for call in gateway.answers.calls] == ["127.0.0.7", "127.0.0.1"]
        wire.close()


async def test_nobody_else_may_enter_where_grpc_listens() -> None:
    def mode(folder: str) -> int:
        return stat.S_IMODE(Path(folder).stat().st_mode)

    async with small_gateway() as gateway:
        folder = gateway.front._folder.name
        assert mode(folder) == 0o700
    with pytest.raises(FileNotFoundError):
        mode(folder)


async def test_a_port_in_use_is_named_with_its_settings() -> None:
    async with small_gateway() as gateway:
        with pytest.raises(CannotListen, match=rf"api.port .*127.0.0.1:{gateway.port};"):
            await gateway.front.__class__(gateway.front._grpc, gateway.front._http).start(
                "127.0.0.1", gateway.port
            )


async def test_calls_under_way_are_answered_when_the_gateway_stops(eventually: Eventually) -> None:
    async with small_gateway(waiting=True) as gateway, aio.insecure_channel(gateway.address) as channel:
        idle = await connected(gateway)
        idle.say(REQUEST)
        await idle.hear(b'"ok"}')
        by_http = await connected(gateway)
        by_http.say(HEAD + b"content-length: 2\r\n\r\n{}")
        by_grpc = channel.unary_unary(
            f"/{HZ}",
            admin_pb2.HZRequest.SerializeToString,
            admin_pb2.HZResponse.FromString,
        )(admin_pb2.HZRequest(), timeout=10)
        await eventually(lambda: len(gateway.answers.calls) == 2)
        stopping = asyncio.create_task(gateway.front.stop(10))
        assert await idle.rest() == b""
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await connected(gateway)
        assert not stopping.done()
        gateway.answers.go.set()
        assert await by_grpc == admin_pb2.HZResponse()
        assert (await by_http.rest()).startswith(b"HTTP/1.1 200 OK")
        await stopping


async def test_calls_that_never_end_are_cut_off_when_the_gateway_stops() -> None:
    async with small_gateway(waiting=True) as gateway:
        wire = await connected(gateway)
        wire.say(HEAD + b"content-length: 2\r\n\r\n{}")
        await gateway.answers.came.wait()
        await asyncio.wait_for(gateway.front.stop(SOON), 10)
        assert b"200" not in await wire.rest()


async def test_large_messages_pass_both_ways_by_grpc() -> None:
    async with small_gateway() as gateway, aio.insecure_channel(gateway.address) as channel:
        gateway.answers.answer = admin_pb2.HZResponse(result={"x": "y" * 3_000_000})
        call = channel.unary_unary(f"/{HZ}", None, admin_pb2.HZResponse.FromString)
        request = b"\x7a" + bytes([0x80 | (250_000 & 0x7F), 0x80 | (250_000 >> 7 & 0x7F), 250_000 >> 14])
        answers = await asyncio.gather(*(call(request + b"x" * 250_000) for _ in range(5)))
        assert {len(answer.result["x"]) for answer in answers} == {3_000_000}


async def test_a_client_that_goes_away_ends_its_call(eventually: Eventually) -> None:
    async with small_gateway(waiting=True) as gateway:
        async with aiohttp.ClientSession() as session:
            call = asyncio.create_task(session.post(f"http://{gateway.address}/{HZ}", json={}))
            await gateway.answers.came.wait()
            call.cancel()
        await eventually(lambda: not gateway.front._open)
