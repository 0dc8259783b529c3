"""StreamOutcomes of a gateway that runs: followed by gRPC and by Connect, until the gateway stops."""

import json
import signal
import struct
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import grpc
import psycopg

from kannon.adapters.pb import stats_v3_pb2 as pb
from kannon.adapters.pb.stats_v3_pb2_grpc import StatsApiV3Stub
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.nats import EmbeddedNats
from tests.commands import started
from tests.gateway_client import ADMIN_TOKEN
from tests.gateway_process import gateway_process

DOMAIN = "mail.example.com"
TOKEN = "x-kannon-admin-token"
METHOD = "kannon.stats.apiv3.StatsApiV3/StreamOutcomes"


def commit(database_url: str, seq: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email)"
            " VALUES (7, %s, 'delivered', 1, %s, 'msg_x', %s, 'a@example.org')",
            (seq, datetime.now(UTC), DOMAIN),
        )


async def frame(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next message of a stream of Connect, or how it ended."""
    _, length = struct.unpack(">BI", await answer.content.readexactly(5))
    found: dict[str, Any] = json.loads(await answer.content.readexactly(length))
    return found


async def test_who_follows_gets_each_outcome_at_once_and_is_sent_away_by_a_gateway_that_stops(
    migrated_database: str, fresh_nats: EmbeddedNats
) -> None:
    question = json.dumps({"domain": DOMAIN, "follow": True}).encode()
    with gateway_process(migrated_database, fresh_nats.url) as gateway:
        async with (
            grpc.aio.insecure_channel(gateway.address) as channel,
            aiohttp.ClientSession() as session,
            session.post(
                f"http://{gateway.address}/{METHOD}",
                data=struct.pack(">BI", 0, len(question)) + question,
                headers={"content-type": "application/connect+json", TOKEN: ADMIN_TOKEN},
            ) as by_connect,
        ):
            request = pb.StreamOutcomesReq(domain=DOMAIN, follow=True)
            stub: Any = StatsApiV3Stub(channel)
            by_grpc = stub.StreamOutcomes(request, metadata=((TOKEN, ADMIN_TOKEN),), timeout=60)
            assert not (await by_grpc.read()).outcomes
            assert await frame(by_connect) == {}
            for seq in range(2):
                commit(migrated_database, seq)
                (outcome,) = (await by_grpc.read()).outcomes
                (same,) = (await frame(by_connect))["outcomes"]
                assert outcome.delivery == same["delivery"] == f"7.{seq}"
                assert outcome.event_id == same["eventId"]
            began = time.monotonic()
            gateway.process.terminate()
            ended = await frame(by_connect)
            assert ended["error"]["code"] == "unavailable"
            assert await by_grpc.code() is grpc.StatusCode.UNAVAILABLE
        gateway.process.wait(20)
        assert time.monotonic() - began < 8


def test_tail_goes_on_where_it_was_when_the_gateway_was_restarted(
    migrated_database: str, nats_url: str
) -> None:
    port = free_port()
    variables = {"KANNON_API": f"127.0.0.1:{port}", "K_API_ADMIN_TOKEN": ADMIN_TOKEN}
    with gateway_process(migrated_database, nats_url, K_API_PORT=str(port)):
        commit(migrated_database, 0)
        tail = started("events", "tail", DOMAIN, "--all", "--json", **variables)
        assert tail.stdout
        assert tail.stderr
        assert json.loads(tail.stdout.readline())["delivery"] == "7.0"
    commit(migrated_database, 1)
    with gateway_process(migrated_database, nats_url, K_API_PORT=str(port)):
        commit(migrated_database, 2)
        rest = [json.loads(tail.stdout.readline())["delivery"] for _ in range(2)]
        assert rest == ["7.1", "7.2"]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(20) == 0
    assert tail.stderr.read().startswith("to go on: --cursor ")


def test_tail_of_a_gateway_that_is_not_there_says_so() -> None:
    tail = started(
        "events", "tail", DOMAIN, KANNON_API=f"127.0.0.1:{free_port()}", K_API_ADMIN_TOKEN=ADMIN_TOKEN
    )
    _, said = tail.communicate(timeout=30)
    assert tail.returncode == 3
    assert "Traceback" not in said
