"""What `make scale` has before a function: by turns, on demand, and not for a moment longer than needed."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from kannon.cli.standalone.listening import accepts_connections, free_port
from kannon.cli.standalone.part import Part
from scale.front import Front
from tests.conftest import Eventually

SERVER = """
import os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/hang":
            time.sleep(60)
        self.send_response(int(self.headers.get("wanted", "200")))
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(os.environ["NAME"].encode() + b" " + body)

    def log_message(self, *args):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@dataclass
class Client:
    front: Front
    session: aiohttp.ClientSession

    async def post(self, body: bytes = b"", path: str = "/", wanted: int = 200) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.front.port}{path}"
        async with self.session.post(url, data=body, headers={"wanted": str(wanted)}) as answer:
            self.retry_after = answer.headers.get("Retry-After")
            return answer.status, await answer.text()


def part(name: str) -> Part:
    port = free_port()
    return Part(
        name=name,
        argv=[sys.executable, "-S", "-c", SERVER],
        env={"PORT": str(port), "NAME": name},
        ready=lambda: accepts_connections(port),
    )


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    front = Front([lambda: part("one"), lambda: part("two")])
    await front.start()
    async with aiohttp.ClientSession() as session:
        yield Client(front, session)
    await front.stop()


async def test_the_first_request_starts_an_instance_and_is_held_until_it_is_ready(client: Client) -> None:
    assert client.front.running == 0
    answers = await asyncio.gather(*(client.post(b"hello") for _ in range(5)))
    assert answers == [(200, "one hello")] * 5
    assert client.front.running == client.front.traffic.cold == 1


async def test_two_instances_are_asked_by_turns_and_answers_pass_as_they_are(client: Client) -> None:
    await client.front.scale(2)
    answers = [await client.post(wanted=429) for _ in range(4)]
    assert sorted(answers) == [(429, "one "), (429, "one "), (429, "two "), (429, "two ")]
    assert client.retry_after == "7"


async def test_what_is_idle_is_stopped_and_started_for_the_next_request(
    client: Client, eventually: Eventually
) -> None:
    await client.front.scale(2)
    client.front.idle_after = 0.1
    await eventually(lambda: client.front.running == 0)
    client.front.idle_after = None
    assert await client.post() == (200, "one ")
    assert client.front.instances[0].starts == 2


async def test_what_is_asked_is_not_idle(client: Client, eventually: Eventually) -> None:
    await client.front.scale(1)
    hanging = asyncio.create_task(client.post(path="/hang"))
    await eventually(lambda: client.front.traffic.held == 0 and client.front.is_asked)
    client.front.idle_after = 0.0
    assert (await client.post())[0] == 200
    assert client.front.running == 1
    hanging.cancel()


async def test_a_request_that_an_instance_dies_with_is_a_502_and_the_instance_is_started_again(
    client: Client, eventually: Eventually
) -> None:
    await client.front.scale(1)
    hanging = asyncio.create_task(client.post(path="/hang"))
    await eventually(lambda: client.front.is_asked)
    assert client.front.instances[0].kill()
    assert (await hanging)[0] == 502
    await eventually(lambda: client.front.instances[0].starts == 2)
    assert await client.post() == (200, "one ")
    assert client.front.traffic.broken == 1


async def test_an_instance_whose_port_was_taken_meanwhile_takes_another(client: Client) -> None:
    instance = client.front.instances[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", instance.port))
        assert await client.post() == (200, "one ")
        assert instance.port != taken.getsockname()[1]


async def test_a_request_is_turned_to_the_other_where_one_takes_no_connections(client: Client) -> None:
    await client.front.scale(2)
    gone = client.front.instances[0]
    await gone.stop()
    gone.is_ready = True  # as a front believes for the moment after a death
    assert [await client.post(), await client.post()] == [(200, "two ")] * 2
    assert client.front.traffic.turned == 1
