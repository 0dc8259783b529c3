"""track in a process of its own, as the image starts it: HTTP on the wire, real keys, a stream, and stats."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from functions.stats.deciding import RetryRules
from functions.stats.handler import Stats
from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.streams import ensure_streams, stream_of
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.outbox import PostgresOutbox
from kannon.adapters.postgres.tracking_keys import PostgresTrackingKeys
from kannon.cli.standalone.listening import answers_http, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import AnyPayload, Engagement, EngagementsSeen
from kannon.core.suppression import SuppressionRules
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.keys import KeyRing
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import SigningKey
from kannon.events import CloudEvent, Sealer, name_of
from kannon.runtime.keys import encode_key
from tests.conftest import Eventually
from tests.contract.test_ledger_contract import RECIPIENTS, postgres_subject
from tests.fakes import FakePublisher
from tests.mail import DOMAIN
from tests.tracking import FIREFOX, ONE_CLICK
from tests.unit.test_stats import SCHEDULE

ROOT = Path(__file__).parents[2]
KEY = b"k" * 32
HOST = f"stats.{DOMAIN}"


def request(path: str, method: str = "GET", host: str = HOST, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"User-Agent: {FIREFOX}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Client:
    """One connection that is kept."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *args: Any, **kwargs: Any) -> tuple[int, bytes, bytes]:
        """Status, headers and body."""
        self.writer.write(request(*args, **kwargs))
        return await self.answer(has_body="HEAD" not in args)

    async def answer(self, has_body: bool = True) -> tuple[int, bytes, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = int(head.partition(b"content-length: ")[2].split(b"\r", 1)[0])
        body = await self.reader.readexactly(length) if has_body else b""
        return int(head.split(b" ", 2)[1]), head, body


@dataclass
class Running:
    """track, running, with the means to make tokens and to look at what it told."""

    process: asyncio.subprocess.Process
    port: int
    ring: KeyRing
    batch: int
    nats_url: str
    database_url: str
    clients: list[Client] = field(default_factory=list)

    def path(
        self,
        audience: Audience,
        mode: Mode = Mode.IDENTIFIED,
        seq: int | None = 0,
        url: str = "",
    ) -> str:
        way = {Audience.OPEN: "o", Audience.CLICK: "c", Audience.UNSUBSCRIBE: "u"}[audience]
        return f"/{way}/{self.ring.mint(self.claims(audience, mode, seq, url))}"

    def claims(
        self, audience: Audience, mode: Mode = Mode.IDENTIFIED, seq: int | None = 0, url: str = ""
    ) -> Claims:
        until = int((datetime.now(UTC) + timedelta(days=92)).timestamp())
        if audience is Audience.CLICK:
            url = url or "https://shop.example.org/"
        return Claims(audience, DOMAIN, mode, self.batch, until, seq, "", url)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def state(self) -> dict[str, Any]:
        """What it tells of itself."""
        _, _, body = await (await self.client()).ask("/", host="127.0.0.1")
        return dict(json.loads(body))

    async def events(self) -> list[EngagementsSeen]:
        """What the stream holds."""
        found = []
        async with await connect(self.nats_url, "test", give_up_after=10) as nats:
            name = stream_of(EngagementsSeen).name
            state = (await nats.js.stream_info(name)).state
            for seq in range(max(1, state.first_seq), state.last_seq + 1):
                message = await nats.js.get_msg(name, seq)
                headers = {k.removeprefix("ce-"): v for k, v in (message.headers or {}).items()}
                event = CloudEvent.of(headers | {"datacontenttype": "application/json"}, message.data or b"")
                opened = Sealer(KEY, "/test").open(event, (EngagementsSeen,))
                assert isinstance(opened, EngagementsSeen)
                found.append(opened)
        return found

    async def told(self) -> list[Engagement]:
        """Each once: where NATS confirms too late, one may be told again under its id."""
        told = {one.id: one for event in await self.events() for one in event.engagements}
        return list(told.values())

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


async def start(
    port: int, nats_url: str, database_url: str, trusted: str = "127.0.0.1/32"
) -> asyncio.subprocess.Process:
    own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    variables = {
        "FUNCTION_SOURCE": str(ROOT / "functions" / "track" / "main.py"),
        "FUNCTION_TARGET": "track",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "K_CONFIG": os.devnull,
        "K_KEYS_EVENTS": encode_key(KEY),
        "K_NATS_URL": nats_url,
        "K_DATABASE_URL": database_url,
        "K_TRACK_TRUSTED_PROXIES": trusted,
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kannon.runtime.serve_public"),
        env=own | variables,
        cwd="/",
        stdout=asyncio.subprocess.DEVNULL,
    )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def running(
    migrated_database: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> AsyncIterator[Running]:
    async with opened(migrated_database) as database:
        batch = (await postgres_subject(migrated_database, database)).batch
        keys = PostgresTrackingKeys(database, b"t" * 32)
        await keys.rotate(datetime.now(UTC))
        ring = KeyRing(await keys.signing_keys())
    async with await connect(fresh_nats.url, "test", give_up_after=10) as nats:
        await ensure_streams(nats.js)
    port = free_port()
    process = await start(port, fresh_nats.url, migrated_database)
    running = Running(process, port, ring, batch, fresh_nats.url, migrated_database)
    try:
        await eventually(lambda: answers_http(port, "/"), within=20)
        yield running
    finally:
        for client in running.clients:
            client.writer.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_pixel_a_link_and_what_is_told_of_them(running: Running) -> None:
    client = await running.client()
    status, head, body = await client.ask(running.path(Audience.OPEN))
    assert (status, body[:6]) == (200, b"GIF89a")
    assert b"\r\ncache-control: no-store" in head
    full = running.path(Audience.CLICK, Mode.FULL, url="https://shop.example.org/?q=1")
    status, head, body = await client.ask(full, X_Forwarded_For="203.0.113.9")
    assert (status, body) == (302, b"")
    assert b"\r\nlocation: https://shop.example.org/?q=1\r\n" in head
    assert await running.stop() == 0
    opened, clicked = sorted(await running.told(), key=lambda one: one.act, reverse=True)
    assert (opened.act, opened.seq, opened.ip, opened.user_agent) == ("opened", 0, "", "")
    assert (clicked.act, clicked.url) == ("clicked", "https://shop.example.org/?q=1")
    assert (clicked.ip, clicked.user_agent) == ("203.0.113.9", FIREFOX)


async def test_requests_in_one_go_are_answered_in_their_order(running: Running) -> None:
    client = await running.client()
    unsubscribe = running.path(Audience.UNSUBSCRIBE)
    client.writer.write(
        request(running.path(Audience.OPEN))
        + request(unsubscribe, "POST", body=ONE_CLICK)
        + request(running.path(Audience.CLICK))
        + request("/o/none")
    )
    assert [(await client.answer())[0] for _ in range(4)] == [200, 200, 302, 404]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /o/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 404),
        (b"GET /c/x HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 404),
        (b"GET /o/x HTTP/1.0\r\n\r\n", 404),
        (b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000, 413),
        (b"GET /o/x HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, 413),
        (b"GET /c/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
    ids=["nonsense", "target", "hosts", "upgrade", "old", "body", "head", "octets"],
)
async def test_what_is_no_request_or_too_large_is_refused_and_harms_nobody(
    sent: bytes, status: int, running: Running
) -> None:
    client = await running.client()
    client.writer.write(sent)
    assert (await client.answer())[0] == status
    assert (await (await running.client()).ask(running.path(Audience.OPEN)))[0] == 200


@pytest.mark.parametrize("octets", [100_000, 2_000_000])
async def test_who_is_refused_amid_a_request_still_reads_why(octets: int, running: Running) -> None:
    client = await running.client()
    client.writer.write(b"GET /o/x HTTP/1.1\r\nHost: x\r\nX: " + b"x" * octets)
    await client.writer.drain()
    assert (await client.answer())[0] == 413
    assert await client.reader.read() == b""


async def test_mutated_tokens_are_none(running: Running) -> None:
    rng, good = random.Random(7), running.path(Audience.CLICK)
    client = await running.client()
    for _ in range(500):
        at = rng.randrange(3, len(good))
        bad = good[:at] + rng.choice("ABCabc019-_.") + good[at + 1 :]
        if bad != good:
            status, head, body = await client.ask(bad)
            assert (status, body) == (404, b"Not found.\n")
            assert b"location" not in head
    assert (await client.ask(good, host="stats.other.example"))[0] == 404


async def test_a_new_key_is_found_without_a_restart(running: Running, eventually: Eventually) -> None:
    client = await running.client()
    assert (await client.ask(running.path(Audience.OPEN)))[0] == 200
    new = SigningKey("another", b"s" * 32)
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO stats_keys SELECT (jsonb_populate_record(k, %s::jsonb)).* FROM stats_keys k",
            [json.dumps({"kid": new.kid, "public_key": "\\x" + new.public.hex()})],
        )
    path = f"/o/{new.mint(running.claims(Audience.OPEN))}"

    async def is_known() -> bool:
        status, _, _ = await client.ask(path)
        return status == 200

    await eventually(is_known, within=20)


async def test_while_nats_is_away_readers_are_answered_and_what_they_did_is_told_later(
    running: Running, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    client, loop = await running.client(), asyncio.get_running_loop()
    await fresh_nats.stop()
    for seq in range(150):
        begin = loop.time()
        assert (await client.ask(running.path(Audience.OPEN, seq=seq)))[0] == 200
        assert loop.time() - begin < 2
    status, head, _ = await client.ask(running.path(Audience.UNSUBSCRIBE), "POST", body=ONE_CLICK)
    assert status == 503
    assert b"\r\nretry-after: 5\r\n" in head
    state = await running.state()
    assert (state["nats"], state["published"], state["pending"], state["lost"]) == (False, 0, 150, 0)
    await fresh_nats.start()

    async def all_told() -> bool:
        return bool((await running.state())["published"] == 150)

    await eventually(all_told, within=30)
    assert {one.seq for one in await running.told()} == set(range(150))


async def test_it_starts_and_ends_while_nats_is_away(migrated_database: str, eventually: Eventually) -> None:
    port = free_port()
    process = await start(port, "nats://127.0.0.1:1", migrated_database)
    try:
        await eventually(lambda: answers_http(port, "/"), within=20)
    finally:
        process.terminate()
    assert await process.wait() == 0


async def test_who_sends_nothing_is_shown_out_and_the_rest_is_finished_at_the_end(running: Running) -> None:
    idle, busy = await running.client(), await running.client()
    await busy.ask(running.path(Audience.OPEN))
    assert await running.stop() == 0
    assert await idle.reader.read() == b""
    assert len(await running.told()) == 1


async def learn(database: Database, *events: EngagementsSeen) -> list[AnyPayload]:
    """Let stats have events; gives what the world is told of them."""
    publisher = FakePublisher()
    outbox = PostgresOutbox(database, publisher)
    stats = Stats(
        *(PostgresLedger(database), publisher, outbox, RetryRules(SCHEDULE)),
        *(database.clock, lambda: "nonce", lambda: 0.0, SuppressionRules()),
    )
    await asyncio.gather(*(stats.handle(event, "") for event in events))
    while await outbox.drain():
        pass
    await outbox.close()
    return publisher.payloads


COUNTED = "SELECT measure, sum(count)::int FROM rollup_deltas GROUP BY measure"
WRITTEN = "SELECT type, count(*) FROM stats GROUP BY type"


async def test_what_is_counted_is_what_was_asked_for_under_load_and_after_a_replay(running: Running) -> None:
    made: Counter[str] = Counter()

    async def reader(number: int) -> None:
        client = await running.client()
        for turn in range(250):
            mode = (Mode.ANONYMOUS, Mode.IDENTIFIED, Mode.FULL)[turn % 3]
            audience = Audience.CLICK if turn % 4 else Audience.OPEN
            path = running.path(
                audience, mode, (number + turn) % (RECIPIENTS + 1) if mode > Mode.ANONYMOUS else None
            )
            assert (await client.ask(path))[0] in (200, 302)
            await client.ask(path, "HEAD")
            made["clicked" if turn % 4 else "opened"] += 1

    await asyncio.gather(*(reader(number) for number in range(10)))
    assert await running.stop() == 0
    events = await running.events()
    assert len({one.id for event in events for one in event.engagements}) == 2_500
    async with opened(running.database_url) as database:
        for _ in range(2):
            await learn(database, *events)
            with psycopg.connect(running.database_url) as connection:
                measures: dict[str, int] = dict(connection.execute(COUNTED).fetchall())
                rows: dict[str, int] = dict(connection.execute(WRITTEN).fetchall())
            counted = Counter[str]()
            for measure, count in measures.items():
                counted[measure.partition("_")[0]] += count
            assert counted == made
            seen = {one.id: one for event in events for one in event.engagements}.values()
            known = [one for one in seen if one.seq is not None and one.seq < RECIPIENTS]
            assert rows == Counter(one.act.value for one in known), "whose Delivery is gone leaves no row"


async def test_who_unsubscribes_is_suppressed_once_and_the_world_is_told_once(running: Running) -> None:
    client = await running.client()
    path = running.path(Audience.UNSUBSCRIBE, Mode.OFF)
    assert b"<button" in (await client.ask(path))[2]
    assert (await client.ask(path, "HEAD"))[0] == 200
    assert await running.told() == []
    for _ in range(3):
        assert (await client.ask(path, "POST", body=ONE_CLICK))[0] == 200
    events = await running.events()
    assert len(events) == 1
    async with opened(running.database_url) as database:
        told = await learn(database, *events, *events)
        assert [name_of(one) for one in told] == ["suppression.added"]
        with psycopg.connect(running.database_url, autocommit=True) as connection:
            suppressed = connection.execute("SELECT address, reason, source FROM suppressions").fetchall()
            assert suppressed == [("r0@example.org", "unsubscribe", "recipient")]
            connection.execute("DELETE FROM suppressions")
        assert await learn(database, *events) == [], "what was removed since is not added by a repeat"
        with psycopg.connect(running.database_url) as connection:
            assert connection.execute("SELECT * FROM suppressions").fetchall() == []
