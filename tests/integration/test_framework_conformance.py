"""What functions-framework-conformance checks of a framework, and cloudevents/conformance of its binding.

Their clients, in Go and Gherkin, start a server, send requests, and compare what a function writes down of
them; so does this. It asks how our start serves functions of the HTTP signature with events read in them, as
stages do, and the framework as we trim it with its own signature for CloudEvents. Left out are legacy events
of Google's background functions: the asyncio flavour takes none. Of extensions ours keeps those it knows.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from kannon.cli.standalone.listening import accepts_connections, free_port
from tests.conftest import Eventually

AT_ONCE = 500
FUNCTIONS = f"""
import asyncio, json, pathlib
from kannon.runtime.stage import parse_event
from starlette.responses import Response

OUTPUT = pathlib.Path("function_output.json")
barrier = asyncio.Barrier({AT_ONCE})

async def http(request):
    OUTPUT.write_bytes(await request.body())
    return Response("written")

async def events(request):
    event = parse_event(request.headers, await request.body())
    OUTPUT.write_text(json.dumps(event.attributes() | {{"data": json.loads(event.data)}}))
    return Response(status_code=204)

async def own_events(event):
    OUTPUT.write_text(json.dumps(event.get_attributes() | {{"data": event.get_data()}}))

async def waiting(request):
    await barrier.wait()
    return Response("all are here")
"""
OURS = ("-m", "kannon.runtime.serve")
THEIRS = (
    "-c",
    "import os, uvicorn\n"
    "from kannon.runtime.framework import _import_slim\n"
    "target, source = os.environ['FUNCTION_TARGET'], os.environ['FUNCTION_SOURCE']\n"
    "app = _import_slim().create_asgi_app(target, source, 'cloudevent')\n"
    "uvicorn.run(app, host='127.0.0.1', port=int(os.environ['PORT']), log_level='warning')\n",
)
COMMON = {"specversion": "1.0", "time": "2020-09-29T11:32:00.123Z", "datacontenttype": "application/json"}
EVENTS: list[dict[str, Any]] = [
    {
        **COMMON,
        "id": "1144231683168617",
        "type": "com.example.topic.published.v1",
        "source": "//topics.example.com/projects/a/topics/b",
        "data": {"@type": "type.example.com/Message", "attributes": {"a": "b"}, "data": "dGVzdCBtZXNzYWdl"},
    },
    {
        **COMMON,
        "id": "1147091835525187",
        "type": "com.example.object.finalized.v1",
        "source": "//objects.example.com/projects/_/buckets/some-bucket",
        "subject": "objects/folder/Test.cs#1588778055917163",
        "data": {"bucket": "some-bucket", "size": "352", "mediaLink": "https://a.example/o/T?x=1&alt=media"},
    },
    {
        **COMMON,
        "id": "7b8f1804-d38b-4b68-b37d-e2fb5d12d5a0-0",
        "type": "com.example.document.written.v1",
        "source": "//documents.example.com/projects/p/databases/(default)",
        "subject": "documents/gcf-test/2Vm2mI1d0wIaK2Waj5to",
        "data": {
            "oldValue": {"fields": {"a": {"s": "asd"}}},
            "updateMask": {"fieldPaths": ["count"]},
            "n": 1.5,
        },
    },
    {
        **COMMON,
        "id": "/SnHth9OSlzK1Puj85kk4tDbF90=",
        "type": "com.example.database.written.v1",
        "source": "//database.example.com/projects/_/instances/i",
        "subject": "refs/gcf-test/xyz",
        "data": {"data": None, "delta": {"grandchild": "other", "number": 10, "list": [True, False, []]}},
    },
    {
        **COMMON,
        "id": "aaaaaa-1111-bbbb-2222-cccccccccccc",
        "type": "com.example.user.created.v1",
        "source": "//auth.example.com/projects/my-project-id",
        "subject": "users/UUpby3s4spZre6kHsgVSPetzQ8l2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": {
            "email": "test@nowhere.com",
            "displayName": "Jürgen ☃ 𝄞",
            "metadata": {"createTime": "2020"},
        },
    },
]
BINDING = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "time": "2018-04-05T03:56:24Z",
    "id": "1234-1234-1234",
    "source": "/mycontext/subcontext",
}
HELLO = b'{\n    "message": "Hello World!"\n}'
each_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"].split(".")[2])
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Server:
    """A function that is served."""

    url: str
    output: Path
    session: aiohttp.ClientSession

    async def post(self, body: bytes, **headers: str) -> int:
        """The status."""
        async with self.session.post(self.url, data=body, headers=headers) as response:
            await response.read()
            return response.status

    async def binary(self, event: dict[str, Any], body: bytes | None = None) -> int:
        """The status of an event in binary mode."""
        headers = {
            f"ce-{name}": quote(value, safe=" !#$&'()*+,/:;=?@[]")
            for name, value in event.items()
            if name not in ("data", "datacontenttype")
        }
        data = json.dumps(event["data"]).encode() if body is None else body
        return await self.post(data, **headers, **{"content-type": event["datacontenttype"]})

    async def structured(self, event: dict[str, Any], kind: str = "application/cloudevents+json") -> int:
        """The status of an event in structured mode."""
        return await self.post(json.dumps(event).encode(), **{"content-type": kind})

    def written(self) -> Any:
        """What the function wrote down, once."""
        found = json.loads(self.output.read_bytes())
        self.output.unlink()
        return found


def source_in(folder: Path) -> Path:
    """The functions, in a new folder."""
    folder.mkdir()
    source = folder / "functions.py"
    source.write_text(FUNCTIONS)
    return source


@asynccontextmanager
async def served(
    folder: Path, command: tuple[str, ...], target: str, eventually: Eventually
) -> AsyncIterator[Server]:
    source, port = source_in(folder), free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    variables = {"FUNCTION_SOURCE": str(source), "FUNCTION_TARGET": target, "PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env=own | variables | {"HOST": "127.0.0.1", "K_CONFIG": os.devnull},
    )
    connector = aiohttp.TCPConnector(limit=0)
    try:
        await eventually(lambda: accepts_connections(port))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Server(f"http://127.0.0.1:{port}/", folder / "function_output.json", session)
    finally:
        process.terminate()
        await process.wait()


@dataclass
class Servers:
    """One of each."""

    http: Server
    ours: Server
    theirs: Server
    waiting: Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> AsyncIterator[Servers]:
    folder = tmp_path_factory.mktemp("conformance")
    kinds = (("http", OURS), ("events", OURS), ("own_events", THEIRS), ("waiting", OURS))
    async with AsyncExitStack() as stack:
        coming = (served(folder / target, command, target, eventually) for target, command in kinds)
        yield Servers(*[await stack.enter_async_context(one) for one in coming])


@pytest.fixture(params=["ours", "theirs"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Functions that take events: read in the function, or by the framework."""
    found: Server = getattr(servers, request.param)
    return found


async def test_an_http_function_gets_the_request(servers: Servers) -> None:
    assert await servers.http.post(b'{"res":"PASS"}', **{"content-type": "application/json"}) == 200
    assert servers.http.written() == {"res": "PASS"}


@each_event
async def test_an_event_in_binary_mode_arrives_whole(server: Server, event: dict[str, Any]) -> None:
    assert await server.binary(event) in (200, 204)
    assert server.written() == event


@each_event
async def test_an_event_in_structured_mode_arrives_whole(server: Server, event: dict[str, Any]) -> None:
    assert await server.structured(event) in (200, 204)
    assert server.written() == event


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
async def test_binary_content_mode_of_the_binding(server: Server, kind: str) -> None:
    assert await server.binary({**BINDING, "datacontenttype": kind}, HELLO) in (200, 204)
    written = server.written()
    assert written["data"] == {"message": "Hello World!"}
    assert {name: written[name] for name in BINDING} == BINDING


@pytest.mark.parametrize(
    "kind", ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"]
)
async def test_structured_content_mode_of_the_binding(server: Server, kind: str) -> None:
    event = {**BINDING, "datacontenttype": "application/json", "data": json.loads(HELLO)}
    assert await server.structured(event, kind) in (200, 204)
    assert server.written() == event


async def test_a_header_is_percent_decoded(servers: Servers) -> None:
    event = {**EVENTS[0], "subject": "Grüße ☃ 100 %"}
    assert await servers.ours.binary(event) == 204
    assert servers.ours.written()["subject"] == event["subject"]


async def test_requests_at_once_do_not_wait_for_one_another(servers: Servers) -> None:
    """Theirs go to a function that waits a second, and it looks at the clock; these wait for all."""
    asked = await asyncio.gather(*(servers.waiting.post(b"{}") for _ in range(AT_ONCE)))
    assert set(asked) == {200}
