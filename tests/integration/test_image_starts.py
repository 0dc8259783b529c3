"""Every function, started exactly as the image starts it: its command, user, variables, root, and `PORT`."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest
import pytest_asyncio

from kannon.adapters.envelope_codec import EnvelopeCodec
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.streams import ensure_streams
from kannon.adapters.pb import edge_pb2
from kannon.cli.standalone.listening import accepts_connections, answers_http, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.core.payloads import AnyPayload, EnvelopesReady
from kannon.events import CloudEvent, Sealer
from kannon.runtime.clock import utc_now
from tests.conftest import Eventually, Figure, create_database
from tests.describing_edge import DescribingEdge, describing_edge
from tests.dns_server import DnsServer
from tests.dockerfile import FINAL, ROOT
from tests.edge_samples import an_envelope
from tests.gate import Gate
from tests.image import Image, image_in, obstacle
from tests.image_pods import FUNCTIONS, KEY, OTHERS, Pod, is_public, started, variables
from tests.manifests import containers, pod_spec
from tests.scripted_sink import ScriptedSink
from tests.tracking import claims, path_of
from tests.unit.test_events import EXAMPLES

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "can be started"),
]
MODES = ("binary", "structured")
MAX_RESIDENT_MB = 64
HANG_SECONDS = 30
SEALER = Sealer(KEY, "/kannon/test", {EnvelopesReady: EnvelopeCodec()})
OFFERED: list[AnyPayload] = [*EXAMPLES, EnvelopesReady("edge-0", (an_envelope(key=KEY),))]
FOREIGN_PIXEL = path_of(claims())
"""By a token whose key is in no database, so that it is looked for."""


class TakingEdge(DescribingEdge):
    """Takes every Envelope."""

    async def Submit(self, request: edge_pb2.SubmitRequest, context: object) -> edge_pb2.SubmitResponse:
        """All of them."""
        taken = edge_pb2.SubmitAnswer(verdict=edge_pb2.VERDICT_TAKEN)
        return edge_pb2.SubmitResponse(answers=[taken] * len(request.envelopes))


@dataclass
class Around:
    """What a function finds: servers, each behind a gate.

    Attributes:
        given: where they are, by variable.
    """

    image: Image
    gates: list[Gate]
    given: dict[str, str]

    def shut(self) -> None:
        for gate in self.gates:
            gate.shut()

    def open(self) -> None:
        for gate in self.gates:
            gate.open()

    @property
    def waiting(self) -> int:
        """How much is said to servers that do not hear it."""
        return sum(gate.waiting for gate in self.gates)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    return image_in((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "image")


def behind(url: str, gate: Gate) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{gate.port}"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def around(
    image: Image, postgres_server: EmbeddedPostgres, nats_server: EmbeddedNats
) -> AsyncIterator[Around]:
    """The servers, with streams and tables; these the image makes."""
    database_url = create_database(postgres_server.url)
    migrated = image.run(["kannon", "migrate"], K_DATABASE_URL=database_url)
    assert migrated.returncode == 0, migrated.stderr
    async with await connect(nats_server.url, "test", give_up_after=10) as nats:
        await ensure_streams(nats.js)
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(describing_edge(edge_pb2.DescribeResponse(), TakingEdge))
        sink = await stack.enter_async_context(ScriptedSink())
        ports = (postgres_server.port, nats_server.port, int(target.rpartition(":")[2]), sink.port)
        gates = [await stack.enter_async_context(Gate(port)) for port in ports]
        dns = stack.enter_context(DnsServer({}))
        yield Around(
            image,
            gates,
            {
                "K_DATABASE_URL": behind(database_url, gates[0]),
                "K_NATS_URL": behind(nats_server.url, gates[1]),
                "K_EDGE_TARGETS": f"edge-0=127.0.0.1:{gates[2].port}",
                "K_DNS_SERVERS": f"127.0.0.1:{dns.port}",
                "K_SINK": f"http://127.0.0.1:{gates[3].port}/",
            },
        )


@dataclass
class Function:
    """One that is ready, and a client of it."""

    name: str
    pod: Pod
    session: aiohttp.ClientSession

    async def ask(self, path: str = "/") -> int:
        """The status of a GET."""
        async with self.session.get(f"http://127.0.0.1:{self.pod.port}{path}") as response:
            await response.read()
            return response.status

    async def post(self, event: CloudEvent, mode: str = "binary") -> int:
        """The status of an event."""
        attributes: dict[str, Any] = dict(event.attributes())
        if mode == "structured":
            data = {"data_base64": base64.b64encode(event.data).decode()}
            if event.datacontenttype == "application/json":
                data = {"data": json.loads(event.data)}
            body = json.dumps(attributes | data).encode()
            headers = {"content-type": "application/cloudevents+json"}
        else:
            kind = attributes.pop("datacontenttype")
            body, headers = event.data, {f"ce-{name}": value for name, value in attributes.items()}
            headers["content-type"] = kind
        url = f"http://127.0.0.1:{self.pod.port}/"
        async with self.session.post(url, data=body, headers=headers) as response:
            await response.read()
            return response.status

    async def sample(self) -> CloudEvent:
        """An event that it takes."""
        for payload in OFFERED:
            event = SEALER.seal(payload, utc_now())
            if await self.post(event) != 400:
                return event
        raise AssertionError(f"{self.name} takes none of the examples: give it one")

    async def work(self, event: CloudEvent | None) -> int:
        """The status of what it is there for: an event, or a reader's request."""
        return await self.post(event) if event else await self.ask(FOREIGN_PIXEL)


@asynccontextmanager
async def running(
    around: Around, name: str, eventually: Eventually, command: list[str] | None = None, **own: str
) -> AsyncIterator[Function]:
    """The function, ready; by its manifest, unless another command is given."""
    manifest = FUNCTIONS[name]
    if command is None:
        command, own = containers(manifest)[0]["command"], variables(manifest, around.given)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with started(around.image, command, own) as pod, aiohttp.ClientSession() as session:

        async def is_ready() -> bool:
            assert pod.process.returncode is None, pod.errors
            return await answers_http(pod.port, "/")

        await eventually(is_ready, within=HANG_SECONDS)
        pod.ready_after = loop.time() - begun
        yield Function(name, pod, session)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=list(FUNCTIONS))
async def function(
    request: pytest.FixtureRequest, around: Around, eventually: Eventually
) -> AsyncIterator[Function]:
    """Each function, which tests use one after another."""
    async with running(around, request.param, eventually) as function:
        yield function


def concurrency(name: str) -> int:
    """How many requests it is given at once."""
    return int((pod_spec(FUNCTIONS[name]) or {})["containerConcurrency"])


async def no_longer_listens(port: int) -> bool:
    return not await accepts_connections(port)


async def test_every_function_is_started_here() -> None:
    assert set(FUNCTIONS) == {main.parent.name for main in (ROOT / "functions").glob("*/main.py")}


async def test_it_is_ready_in_a_moment(function: Function, figure: Figure) -> None:
    figure(f"{function.name} from the image: ready after {function.pod.ready_after:.2f} s")
    assert function.pod.told("ready")
    assert function.pod.ready_after < HANG_SECONDS


async def test_it_takes_an_event_in_either_mode(function: Function) -> None:
    if is_public(function.name):
        assert await function.ask(FOREIGN_PIXEL) == 404
        return
    event = await function.sample()
    assert [await function.post(event, mode) for mode in MODES] == [204, 204]
    assert not function.pod.errors


async def test_what_is_under_way_holds_up_nobody(
    function: Function, around: Around, eventually: Eventually
) -> None:
    event = None if is_public(function.name) else await function.sample()
    at_once = concurrency(function.name)
    around.shut()
    try:
        asked = [asyncio.create_task(function.work(event)) for _ in range(at_once)]
        if event:
            await eventually(lambda: around.waiting)
        assert await function.ask() == 200
        assert event is None or not any(task.done() for task in asked)
    finally:
        around.open()
    assert set(await asyncio.gather(*asked)) <= ({204} if event else {404, 503})


@pytest.mark.parametrize("name", list(FUNCTIONS))
async def test_what_is_under_way_is_finished_before_it_ends(
    name: str, around: Around, eventually: Eventually
) -> None:
    async with running(around, name, eventually) as function:
        event = None if is_public(name) else await function.sample()
        around.shut()
        try:
            asked = asyncio.create_task(function.work(event))
            await eventually(lambda: around.waiting)
            function.pod.signal(signal.SIGTERM)
            await eventually(lambda: no_longer_listens(function.pod.port))
            assert not asked.done()
        finally:
            around.open()
        assert await asked in ({204} if event else {404, 503})
        assert await function.pod.ended() == 0
        assert not function.pod.errors


async def test_it_has_no_rights_and_leaves_nothing_behind(function: Function) -> None:
    await function.work(None if is_public(function.name) else await function.sample())
    status = function.pod.status()
    user, group = FINAL.all("USER")[0].split(":")
    assert (status["Uid"].split(), status["Gid"].split()) == ([user] * 4, [group] * 4)
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    assert status["NSpid"].split()[-1] == "1"
    assert function.pod.written() == []


async def test_its_memory_is_small(function: Function, figure: Figure) -> None:
    event = None if is_public(function.name) else await function.sample()
    for _ in range(20):
        await function.work(event)
    figure(f"{function.name} from the image: {function.pod.resident_mb():.1f} MB resident")
    assert function.pod.resident_mb() <= MAX_RESIDENT_MB


async def test_nothing_but_tmp_can_be_written_to(image: Image) -> None:
    code = """
import os, pathlib, sys
found = []
for folder, folders, _ in os.walk("/"):
    folders[:] = [name for name in folders if (folder, name) != ("/", "proc")]
    try:
        pathlib.Path(folder, "written").touch()
        found.append(folder)
    except OSError:
        pass
print(*found)
"""
    assert image.run(["python", "-c", code]).stdout.split() == ["/tmp"]


async def test_its_bytecode_is_all_there(image: Image) -> None:
    code = """
import importlib.util, pathlib
for folder in ("/app", *pathlib.Path("/opt/kannon/lib").glob("python*/site-packages/kannon")):
    for source in pathlib.Path(folder).rglob("*.py"):
        flags = pathlib.Path(importlib.util.cache_from_source(source)).read_bytes()[4]
        if flags != 1:
            print(source, flags)
print("looked")
"""
    assert image.run(["python", "-c", code]).stdout == "looked\n"


@pytest.mark.parametrize("is_for_all", [False, True], ids=["events", "public"])
async def test_function_target_alone_picks_a_function(
    around: Around, is_for_all: bool, eventually: Eventually
) -> None:
    name = next(name for name in FUNCTIONS if is_public(name) is is_for_all)
    own = variables(FUNCTIONS[name], around.given)
    del own["FUNCTION_SOURCE"]
    async with running(around, name, eventually, json.loads(FINAL.all("CMD")[0]), **own) as function:
        assert own["FUNCTION_TARGET"] == name
        if not is_for_all:
            assert await function.work(await function.sample()) == 204
        function.pod.signal(signal.SIGTERM)
        assert await function.pod.ended() == 0


@pytest.mark.parametrize("name", list(FUNCTIONS))
async def test_who_is_asked_to_stop_while_it_waits_for_its_servers_ends_at_once(
    name: str, around: Around, eventually: Eventually
) -> None:
    manifest = FUNCTIONS[name]
    around.shut()
    try:
        command, own = containers(manifest)[0]["command"], variables(manifest, around.given)
        async with started(around.image, command, own) as pod:
            # Who has no servers is ready without.
            await eventually(lambda: around.waiting or pod.told("ready"), within=HANG_SECONDS)
            await eventually(lambda: pod.heeds(signal.SIGTERM), within=HANG_SECONDS)
            pod.signal(signal.SIGTERM)
            assert await pod.ended() == 0, pod.errors
    finally:
        around.open()


async def test_without_anything_it_tells_what_there_is(image: Image) -> None:
    command = json.loads(FINAL.all("CMD")[0])
    assert "Kannon sends mail" in image.run(command).stdout
    refused = image.run(command, FUNCTION_TARGET="verfy")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "error: FUNCTION_TARGET, FUNCTION_SOURCE: there is no functions/verfy/main.py\n"


@pytest.mark.parametrize("command", list(OTHERS))
async def test_every_other_part_starts_and_ends(command: str, around: Around, eventually: Eventually) -> None:
    own = variables(OTHERS[command], around.given)
    own |= {name: "0" for name in own if name.endswith("_PORT")}  # the machine's own are others'
    own |= {
        "K_API_HOST": "127.0.0.1",
        "K_API_ADMIN_TOKEN": "a-token-of-an-administrator",
        "K_EDGE_ADDRESS": f"127.0.0.1:{free_port()}",
        "K_EDGE_JOURNAL": "/tmp/journal.db",
        "K_SMTP_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    async with started(around.image, command.split(), own) as pod:

        def is_ready() -> bool:
            assert pod.process.returncode is None, pod.errors
            return pod.told("ready")

        await eventually(is_ready, within=HANG_SECONDS)
        pod.signal(signal.SIGTERM)
        assert await pod.ended() == 0
        assert not pod.errors
