"""No message within a message: what ends a line and a message, and what must not come before a reply."""

import pytest

from tests.inbound_harness import REPORT, Make, return_path

SECOND = f"MAIL FROM:<forger@example.net>\r\nRCPT TO:<{return_path(8)}>\r\nDATA\r\nforged\r\n.\r\n".encode()
NO_ENDS = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\n.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\r\n",
    b"\r\0\n.\r\n",
]


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at-once", "octet-by-octet"])
@pytest.mark.parametrize("no_end", NO_ENDS, ids=repr)
async def test_no_second_message_is_smuggled_in_behind_a_false_end(
    inbound: Make, no_end: bytes, in_pieces: bool
) -> None:
    made = await inbound()
    client = await made.ready_for_data()
    octets = b"Subject: one\r\n\r\nbody" + no_end + SECOND
    for piece in [octets[at : at + 1] for at in range(len(octets))] if in_pieces else [octets]:
        await client.send(piece)
    assert (await client.reply()) == "550 5.5.2 Bare CR, bare LF or NUL received"
    assert await client.is_closed()
    assert not made.reports


async def test_what_follows_a_real_end_is_another_message(inbound: Make) -> None:
    made = await inbound()
    client = await made.ready_for_data()
    await client.send(REPORT + b".\r\n" + SECOND.partition(b"forged")[0])
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    await client.send(b"..\r\n.\r\n")
    assert (await client.reply()).startswith("250")
    assert [report.message for report in made.reports] == [REPORT, b".\r\n"]


@pytest.mark.parametrize("command", [b"NOOP\n", b"NOOP\r", b"NO\rOP\r\n", b"NO\0OP\r\n", b"NOOP\r\r\n"])
async def test_commands_end_in_crlf_too(inbound: Make, command: bytes) -> None:
    client = await (await inbound()).client()
    await client.send(command + b"NOOP\r\n")
    assert (await client.reply()).startswith("550 5.5.2")
    assert await client.is_closed()


async def test_a_message_that_does_not_wait_for_354_is_not_read_as_one(inbound: Make) -> None:
    made = await inbound()
    client = await made.client()
    head = f"MAIL FROM:<>\r\nRCPT TO:<{return_path()}>\r\nDATA\r\n".encode()
    await client.send(head + REPORT + b".\r\n")
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "503"]
    assert await client.is_closed()
    assert not made.reports


async def test_an_empty_message_is_one(inbound: Make) -> None:
    made = await inbound()
    client = await made.ready_for_data()
    assert (await client.say(".")).startswith("250")
    assert (made.reports[0].message, made.reports[0].size) == (b"", 0)


async def test_http_is_shown_out(inbound: Make) -> None:
    client = await (await inbound()).client(greeted=False)
    await client.reply()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 20 + b"\r\n")
    replies = [await client.reply() for _ in range(11)]
    assert replies[-1] == "421 4.7.0 Too many errors"
    assert await client.is_closed()
