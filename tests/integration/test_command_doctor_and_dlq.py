"""`kannon doctor` and `kannon dlq` against a real gateway, on a NATS of their own."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.consumer import PullConsumer, Pulled
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.publisher import NatsStreams, headers_of
from kannon.adapters.nats.streams import STAGES, ensure_streams
from kannon.adapters.pb import edge_pb2
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import BatchAccepted, Candidate, DeliveriesDue
from kannon.events import CloudEvent, Sealer
from kannon.runtime.clock import utc_now
from tests import commands
from tests.commands import Done, on_terminal, started
from tests.describing_edge import describing_edge
from tests.gateway_client import ADMIN_TOKEN, EVENTS_KEY, running_gateway

SEALER = Sealer(EVENTS_KEY, "/kannon/gateway")
ACCEPTED = SEALER.seal(
    BatchAccepted(7, 1, tuple(Candidate(seq, f"r{seq}@example.org") for seq in range(5))), utc_now()
)
FOREIGN = Sealer(b"x" * 32, "/else").seal(DeliveriesDue(1, "x"), utc_now())
EDGE = edge_pb2.DescribeResponse(
    edge="edge-0",
    held=313,
    capacity=20_000,
    suspended=[
        edge_pb2.SuspendedExchanger(
            host="mx.example.org",
            port=25,
            failures=7,
            until_ms=4_000_000_000_000,
            waiting=312,
            reason="connection refused",
        )
    ],
    suspended_total=1,
)


@dataclass
class Around:
    """A gateway, and the NATS that it uses."""

    api: str
    nats: EmbeddedNats
    connection: Connection
    database_url: str

    @property
    def variables(self) -> dict[str, str]:
        return {"KANNON_API": self.api, "K_API_ADMIN_TOKEN": ADMIN_TOKEN}

    async def run(self, *words: str) -> Done:
        return await asyncio.to_thread(commands.kannon, *words, **self.variables)

    async def bury(self, event: CloudEvent, item: str = "") -> None:
        consumer = PullConsumer(self.connection, STAGES["verify"])
        subject = f"kannon.v1.{event.type[13:-3]}"
        pulled = Pulled(subject, headers_of(event), event.data, "KANNON_VERIFY", 41, 1, "", 0, consumer)
        reason = "status 500: <ada@example.org> is odd"
        await DeadLetters(self.connection).bury(pulled, reason=reason, status=500, item=item)

    async def tick(self) -> None:
        """Notice the streams, as the tick does."""
        database = Database(self.database_url)
        await database.open()
        await PostgresLedger(database).notice(await NatsStreams(self.connection).states(), utc_now())
        await database.close()

    async def waiting(self, stage: str) -> int:
        return (await self.connection.js.stream_info(STAGES[stage].name)).state.messages


@pytest.fixture
def database_url(fresh_database: str) -> str:
    migrate(fresh_database)
    return fresh_database


@pytest.fixture
async def around(database_url: str, fresh_nats: EmbeddedNats) -> AsyncIterator[Around]:
    async with (
        describing_edge(EDGE) as target,
        await connect(fresh_nats.url, "test", give_up_after=10) as connection,
        running_gateway(database_url, fresh_nats.url, edges={"edge-0": target}) as client,
    ):
        await ensure_streams(connection.js)
        yield Around(client.address, fresh_nats, connection, database_url)


async def test_letters_are_listed_shown_and_dropped(around: Around, tmp_path: Path) -> None:
    assert (await around.run("dlq", "list")) == Done(0, "", "")
    await around.bury(ACCEPTED, item="3")
    await around.bury(FOREIGN)
    first, second = (await around.run("dlq", "list")).out.splitlines()
    number, age, _, event, item, status, reason = first.split("\t")
    assert (number, event, item, status) == ("1", "batch.accepted", "3 of 5", "500")
    assert (age.endswith(" s"), reason) == (True, "status 500: <a…@example.org> is odd")
    assert second.split("\t")[3:5] == ["deliveries.due", ""]
    listed = json.loads((await around.run("dlq", "list", "--event", "batch.accepted", "--json")).out)
    assert (listed["sequence"], listed["item"], listed["items"]) == (1, "3", 5)

    shown = (await around.run("dlq", "show", "1")).out
    assert "r3@example.org" not in shown
    assert '"address": "r…@example.org"' in shown
    assert "refused again" not in shown
    assert "refused again: signature: not made with" in (await around.run("dlq", "show", "2")).out
    details = json.loads((await around.run("dlq", "show", "1", "--json")).out)
    assert details["content"]["recipients"][4] == {"seq": 4, "address": "r…@example.org"}
    assert details["attributes"]["itemcount"] == "5"
    assert (await around.run("dlq", "show", "1", "--raw", "-")).out.encode() == ACCEPTED.data
    await around.run("dlq", "show", "1", "--raw", str(tmp_path / "data"))
    assert (tmp_path / "data").read_bytes() == ACCEPTED.data

    assert await around.run("dlq", "drop", "1", "9") == Done(
        1, "1 dropped, 1 left\n", "9: there is no such letter\n"
    )
    assert json.loads((await around.run("dlq", "drop", "--all", "--json")).out) == {
        "dropped": [2],
        "left": [],
    }
    missing = await around.run("dlq", "show", "1")
    assert (missing.code, missing.err) == (1, "error: sequence: there is no dead letter 1 (NOT_FOUND)\n")


async def test_a_retried_letter_is_in_its_stream_for_its_items_alone(around: Around) -> None:
    for item in ("1", "3"):
        await around.bury(ACCEPTED, item=item)
    await around.bury(FOREIGN)
    done = await around.run("dlq", "retry", "--event", "batch.accepted", "--yes")
    assert done == Done(0, "2 retried, 0 left\n", "")
    assert await around.waiting("verify") == 2
    items = []
    for number in (1, 2):
        message = await around.connection.js.get_msg("KANNON_VERIFY", number)
        items.append((message.headers or {})["kannon-items"])
        assert (message.headers or {})["ce-signature"] == ACCEPTED.signature
    assert items == ["1-2", "3-4"]
    assert len((await around.run("dlq", "list")).out.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("retry",),
        ("drop", "1", "--all"),
        ("drop", "--all", "--event", "batch.accepted"),
        ("drop", "none"),
        ("show", "0"),
        ("show", "1", "--raw", "-", "--json"),
    ],
)
def test_a_wrong_call_is_refused(words: tuple[str, ...]) -> None:
    assert commands.kannon("dlq", *words, KANNON_API="127.0.0.1:1", K_API_ADMIN_TOKEN="t").code == 2


async def test_no_event_has_a_wildcard_in_its_name(around: Around) -> None:
    done = await around.run("dlq", "list", "--event", ">")
    assert (done.code, "event: must be" in done.err) == (1, True)


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 2), ("y", 0, 0)])
async def test_on_a_terminal_one_is_asked_before(around: Around, answer: str, code: int, left: int) -> None:
    for item in ("1", "3"):
        await around.bury(ACCEPTED, item=item)
    terminal = on_terminal("dlq", "drop", "--all", KANNON_API=around.api, K_API_ADMIN_TOKEN=ADMIN_TOKEN)
    await asyncio.to_thread(terminal.read_until, "2 dead letters will be dropped. Go on?")
    terminal.write(f"{answer}\n")
    assert await asyncio.to_thread(terminal.end) == code
    assert (await around.connection.js.stream_info("KANNON_DLQ")).state.messages == left


async def test_when_nothing_needs_you_the_doctor_says_so(around: Around) -> None:
    await around.tick()
    done = await around.run("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:3] == ["nothing needs you", "ledger", "  nothing waits"]
    assert "  edge-0 holds 313 of at most 20,000, transmits 0; 0 results unpublished" in lines
    assert lines[-1].startswith("  edge-0: exchanger mx.example.org:25 suspended, 312 wait, probed in ")
    found = json.loads((await around.run("doctor", "--json")).out)
    assert (found["findings"], found["ledger"]["in_hand"]["count"]) == ([], 0)
    (edge,) = found["edges"]
    assert (edge["held"], edge["suspended"][0]["waiting"]) == (313, 312)


async def test_what_needs_you_comes_first(around: Around) -> None:
    await around.bury(ACCEPTED, item="3")
    await around.connection.js.publish("kannon.v1.envelopes.ready", b"", headers={"ce-id": "1"})
    done = await around.run("doctor")
    assert done.code == 1
    assert done.out.splitlines()[:4] == [
        "3 things need a look",
        "  tick: the tick does not run: what is stranded or unannounced is not found; "
        "are dispatch and its timer there, and do they reach NATS?",
        "  streams: 1 event in KANNON_SEND, and nobody takes them: does its source run?",
        "  dead letters: 1 dead letter: see `kannon dlq list`",
    ]
    assert "1 dead letter (1 batch.accepted), the oldest for" in done.out


async def test_what_is_away_is_told_beside_what_is_not(around: Around) -> None:
    await around.tick()
    await around.nats.stop()
    done = await around.run("doctor")
    assert done.code == 1
    assert done.out.splitlines()[:2] == [
        "1 thing needs a look",
        "  streams: NATS cannot be asked: streams: NATS is away",
    ]
    assert "nothing waits" in done.out
    assert "mx.example.org:25 suspended" in done.out


async def test_a_gateway_that_is_not_there() -> None:
    done = await asyncio.to_thread(
        commands.kannon, "doctor", KANNON_API=f"127.0.0.1:{free_port()}", K_API_ADMIN_TOKEN="t"
    )
    assert done.code == 3


async def test_the_doctor_may_be_watched(around: Around) -> None:
    process = started("doctor", "--watch", "--json", **around.variables)
    assert process.stdout
    looks = [json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, 20) == 0
    process.communicate()
    assert looks[0]["at"] < looks[1]["at"]
