"""Nobody holds a connection for long, nor many; and a stop is in order."""

import asyncio
import socket
from typing import cast

import pytest

from tests.inbound_harness import BOUNDS, REPORT, Client, Eventually, Make, quicker, return_path


async def drip(client: Client, octets: bytes, every: float) -> None:
    """Send octet by octet until the connection ends."""
    for at in range(len(octets)):
        if client.writer.is_closing() or client.reader.at_eof():
            return
        await client.send(octets[at : at + 1])
        await asyncio.sleep(every)


async def test_one_connection_more_than_there_is_room_for_is_told_to_come_again(
    inbound: Make, eventually: Eventually
) -> None:
    made = await inbound(connections=2)
    first = await made.client()
    await made.client()
    third = await made.client(greeted=False)
    assert (await third.reply()).startswith("421 4.7.0")
    assert await third.is_closed()
    assert (await first.say("QUIT")).startswith("221")
    await eventually(lambda: made.sessions == 1)
    assert (await (await made.client()).say("NOOP")).startswith("250")


async def test_one_client_has_so_many_connections(inbound: Make) -> None:
    made = await inbound(per_client=1)
    await made.client()
    other = await made.client(greeted=False)
    assert (await other.reply()).startswith("421 4.7.0")


async def test_a_connection_that_ends_in_whatever_way_makes_room(
    inbound: Make, eventually: Eventually
) -> None:
    made = await inbound(quicker(errors=1), connections=4)
    for end in (b"QUIT\r\n", b"NOOP\n", b"X\r\nX\r\n"):
        client = await made.client()
        await client.send(end)
    client = await made.ready_for_data()
    client.writer.transport.abort()
    await eventually(lambda: not made.sessions)
    assert not made.server._admission._open


async def test_after_so_many_mistakes_a_session_is_over(inbound: Make) -> None:
    client = await (await inbound(quicker(errors=3))).client()
    await client.say("MAIL FROM:<>")
    for _ in range(3):
        assert (await client.say("RCPT TO:<nobody@example.net>")).startswith("550")
    assert await client.say("RCPT TO:<nobody@example.net>") == "421 4.7.0 Too many errors"
    assert await client.is_closed()


async def test_a_command_is_given_so_often_and_no_more(inbound: Make) -> None:
    client = await (await inbound()).client()
    await client.send(b"NOOP\r\n" * 101)
    replies = [await client.reply() for _ in range(101)]
    assert replies[99].startswith("250")
    assert replies[100].startswith("421 4.7.0")


@pytest.mark.parametrize("greeted", [True, False])
async def test_who_says_nothing_is_let_go(inbound: Make, greeted: bool) -> None:
    client = await (await inbound(quicker(read=0.2))).client(greeted)
    if not greeted:
        await client.reply()
    assert (await client.reply()).startswith("421 4.4.2")
    assert await client.is_closed()


async def test_a_command_that_comes_drop_by_drop_does_not_hold_the_connection(inbound: Make) -> None:
    client = await (await inbound(quicker(read=0.3))).client()
    dripping = asyncio.create_task(drip(client, b"NOOP " + b"x" * 400, 0.02))
    assert (await client.reply()).startswith("421 4.4.2")
    await dripping


async def test_a_line_without_end_does_not_hold_it_either(inbound: Make) -> None:
    client = await (await inbound(quicker(read=0.3))).client()
    await client.send(b"x" * 20_000)
    assert (await client.reply()).startswith("421 4.4.2")


async def test_a_message_that_comes_drop_by_drop_has_its_time(inbound: Make) -> None:
    made = await inbound(quicker(read=1.0, message=0.4))
    client = await made.ready_for_data()
    dripping = asyncio.create_task(drip(client, b"x" * 1000, 0.02))
    assert (await client.reply()).startswith("421 4.4.2")
    await dripping
    assert not made.reports


async def test_who_falls_silent_within_a_message_is_let_go(inbound: Make) -> None:
    made = await inbound(quicker(read=0.2))
    client = await made.ready_for_data()
    await client.send(b"Subject: to be contin")
    assert (await client.reply()).startswith("421 4.4.2")
    assert not made.reports


async def test_a_session_has_its_time_however_busy_it_is(inbound: Make) -> None:
    client = await (await inbound(quicker(session=0.4))).client()
    replies = []
    for _ in range(90):
        replies.append(await client.say("NOOP"))
        if not replies[-1].startswith("250"):
            break
        await asyncio.sleep(0.01)
    assert replies[-1].startswith("421 4.4.2")


async def test_who_does_not_listen_to_replies_is_dropped(inbound: Make, eventually: Eventually) -> None:
    made = await inbound(quicker(write=0.2, errors=10**6))
    deaf = socket.create_connection(("127.0.0.1", made.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    deaf.setblocking(False)
    await eventually(lambda: made.sessions == 1)
    [session] = made.server._sessions
    transport = cast("asyncio.Transport", session.transport)
    transport.set_write_buffer_limits(high=0)
    transport.write(b"x" * 8_000_000)  # as if it had been told that much
    await asyncio.get_running_loop().sock_sendall(deaf, b"NOOP\r\n")
    await eventually(lambda: made.sessions == 0, within=5)
    deaf.close()


async def test_a_stop_lets_in_nobody_and_lets_end_what_is_coming_in(
    inbound: Make, eventually: Eventually
) -> None:
    made = await inbound()
    idle, busy = await made.client(), await made.ready_for_data()
    await busy.send(b"Subject: the last one\r\n")
    stopping = asyncio.create_task(made.server.stop(10))
    assert (await idle.reply()).startswith("421 4.3.2")
    assert await idle.is_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", made.port)
    assert not stopping.done()
    assert (await busy.say(".")).startswith("250")
    assert (await busy.reply()).startswith("421 4.3.2")
    await asyncio.wait_for(stopping, 5)
    assert len(made.reports) == 1


async def test_a_stop_waits_for_nobody_longer_than_it_may(inbound: Make) -> None:
    made = await inbound()
    busy = await made.ready_for_data()
    await asyncio.wait_for(made.server.stop(0.2), 5)
    assert await busy.is_closed()


async def test_many_at_once_are_heard_while_others_drip(inbound: Make) -> None:
    made = await inbound(BOUNDS)
    slow = [asyncio.create_task(drip(await made.ready_for_data(), b"x" * 10_000, 0.01)) for _ in range(10)]

    async def report(seq: int) -> str:
        client = await made.ready_for_data(return_path(seq))
        await client.send(REPORT)
        return await client.say(".")

    replies = await asyncio.gather(*(report(seq) for seq in range(30)))
    assert {reply[:3] for reply in replies} == {"250"}
    assert len(made.reports) == 30
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
