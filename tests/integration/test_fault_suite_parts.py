"""What the fault tests are made of: the proxy, the sink, the choice of cases."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import click
import pytest

from faults.cases.registry import ALL, chosen
from faults.proxy import Proxy
from faults.sink import Behaviour, Exchanger, Sink
from tests.conftest import Eventually

ROOT = Path(__file__).resolve().parents[2]
Connected = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
MAIL = b"Message-ID: <7.3@sender.test>\r\nSubject: hello\r\n\r\nA line.\r\n.\r\n"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that gives back each line."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, limit=2**20)
    made = Proxy("client-echo", server.sockets[0].getsockname()[1])
    await made.start()
    yield made
    await made.stop()
    server.close()


@pytest.fixture
async def connected(proxy: Proxy) -> AsyncIterator[Connected]:
    writers = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()


async def test_a_proxy_carries_both_ways_and_passes_an_end_on(connected: Connected) -> None:
    reader, writer = await connected()
    writer.write(b"one\n" + b"x" * 500_000 + b"\n")
    assert await reader.readline() == b"one\n"
    assert await reader.readexactly(500_001) == b"x" * 500_000 + b"\n"
    writer.write_eof()
    assert await reader.read() == b""


async def test_a_reset_ends_what_is_open_and_nothing_else(proxy: Proxy, connected: Connected) -> None:
    reader, writer = await connected()
    writer.write(b"one\n")
    await reader.readline()
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    reader, writer = await connected()
    writer.write(b"two\n")
    assert await reader.readline() == b"two\n"


async def test_a_cut_refuses_until_it_is_healed(proxy: Proxy, connected: Connected) -> None:
    reader, _ = await connected()
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    with pytest.raises(ConnectionRefusedError):
        await connected()
    await proxy.heal()
    reader, writer = await connected()
    writer.write(b"again\n")
    assert await reader.readline() == b"again\n"


async def test_silence_swallows_without_a_word_and_leaves_a_hole(proxy: Proxy, connected: Connected) -> None:
    reader, writer = await connected()
    writer.write(b"one\n")
    await reader.readline()
    proxy.silence()
    writer.write(b"two\n")
    late_reader, late_writer = await connected()  # taken, and never answered
    late_writer.write(b"three\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.gather(reader.readline(), late_reader.readline())
    await proxy.heal()
    with pytest.raises(ConnectionResetError):
        await reader.readline()


async def test_what_was_silent_while_nothing_was_said_goes_on(proxy: Proxy, connected: Connected) -> None:
    reader, writer = await connected()
    writer.write(b"one\n")
    await reader.readline()
    proxy.silence()
    await proxy.heal()
    writer.write(b"two\n")
    assert await reader.readline() == b"two\n"


async def test_a_delay_holds_back(proxy: Proxy, connected: Connected) -> None:
    reader, writer = await connected()
    proxy.delay = 0.1
    began = asyncio.get_running_loop().time()
    writer.write(b"slow\n")
    assert await reader.readline() == b"slow\n"
    assert asyncio.get_running_loop().time() - began >= 0.2, "there and back"


@pytest.fixture
async def exchanger(tmp_path: Path) -> AsyncIterator[tuple[Sink, Exchanger]]:
    sink = Sink(tmp_path / "sink.jsonl")
    yield sink, await sink.listen("main")
    await sink.stop()


async def sent(exchanger: Exchanger, recipient: str = "a@example.org") -> bytes:
    """What is answered to one mail's final dot; nothing if the connection ends."""
    reader, writer = await asyncio.open_connection(exchanger.host, exchanger.port)
    try:
        writer.write(f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        while not (line := await reader.readline()).startswith(b"354"):
            if not line or line.startswith((b"4", b"5")):
                return line
        writer.write(MAIL)
        return await reader.readline()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def recorded(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "sink.jsonl").read_text().splitlines()]


async def test_a_dot_is_on_record_before_it_is_answered(
    exchanger: tuple[Sink, Exchanger], tmp_path: Path, eventually: Eventually
) -> None:
    sink, main = exchanger
    main.behave = lambda _recipient, _tries: Behaviour(after_dot="hang")
    waiting = asyncio.create_task(sent(main))
    await eventually(lambda: main.hanging)
    assert [line["what"] for line in recorded(tmp_path)] == ["connected", "dot"]
    assert recorded(tmp_path)[1]["delivery"] == [7, 3]
    assert sink.kept("sender.test") == {(7, 3): 1}
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: not main.hanging)


async def test_what_is_refused_or_reset(
    exchanger: tuple[Sink, Exchanger], tmp_path: Path, eventually: Eventually
) -> None:
    sink, main = exchanger
    main.behave = lambda recipient, tries: {
        "later@example.org": Behaviour(rcpt="451 4.3.0 later" if tries == 1 else ""),
        "never@example.org": Behaviour(refuse="554 5.7.1 no"),
    }.get(recipient, Behaviour(after_dot="reset"))
    assert await sent(main, "later@example.org") == b"451 4.3.0 later\r\n"
    assert await sent(main, "later@example.org") == b"250 2.0.0 taken\r\n"
    assert await sent(main, "never@example.org") == b"554 5.7.1 no\r\n"
    assert await sent(main) == b""
    assert sink.kept("sender.test") == {(7, 3): 2}, "what was refused is no copy, what was reset is"
    assert [copy.answered for copy in sink.copies] == [True, True, False]


def test_cases_are_chosen_by_number_or_label() -> None:
    assert [case.label for case in chosen("3,25a,17")] == ["3", "17a", "17b", "25a"]
    with pytest.raises(click.BadParameter, match="99"):
        chosen("3,99")


def test_every_number_of_the_list_has_a_case() -> None:
    assert {case.number for case in ALL} == set(range(1, 28))
    assert len({case.label for case in ALL}) == len(ALL)


def test_the_list_is_told_without_starting_anything() -> None:
    command = [sys.executable, "-m", "faults", "--list", "--only", "1,2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^ *(\d+) ", done.stdout, re.MULTILINE) == ["1", "2"]
