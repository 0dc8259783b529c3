"""The gateway when something is missing, goes away or comes back; its process from start to end."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kannon.adapters.nats.streams import stream_of
from kannon.adapters.pb import admin_pb2
from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.listening import accepts_connections, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.core.payloads import BatchAccepted
from kannon.events import CloudEvent, Sealer
from tests.conftest import Eventually
from tests.gateway_client import ADMIN_TOKEN, EVENTS_KEY, SERVICES, Client, refusal, running_gateway

SECRET = "an installation secret"


@pytest.fixture
def database_url(migrated_database: str) -> str:
    return migrated_database


def announced(url: str) -> list[tuple[int, int]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT recipients, announced_seq FROM messages ORDER BY number").fetchall()


def waiting_for_a_lock(url: str) -> bool:
    here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    with psycopg.connect(url) as connection:
        return bool(connection.execute(f"SELECT 1 FROM pg_locks WHERE NOT granted AND {here}").fetchall())


async def refuses_connections(port: int) -> bool:
    return not await accepts_connections(port)


async def hz(client: Client) -> dict[str, str]:
    return dict((await client.call("HZService/HZ", admin_pb2.HZRequest())).result)


async def test_calls_succeed_while_nats_is_away(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with running_gateway(database_url, fresh_nats.url) as client:
        tenant = await client.tenant()
        await tenant.send("a@b.test")
        await eventually(lambda: announced(database_url) == [(1, 1)])
        await fresh_nats.stop()
        await eventually(lambda: is_ok(client, "nats", wanted="unreachable"))
        await tenant.send("a@b.test", "c@d.test")
    # The gateway has finished what it could: what it did not announce is there for the tick.
    assert announced(database_url) == [(1, 1), (2, 0)]


async def test_a_ledger_without_room_refuses_and_takes_mail_again_when_there_is_some(
    database_url: str, nats_url: str
) -> None:
    full = """
        CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER no_room BEFORE INSERT ON deliveries FOR EACH STATEMENT EXECUTE FUNCTION no_room()"""
    many = [f"r{number}@b.test" for number in range(200)]  # by COPY; a few go another way
    async with running_gateway(database_url, nats_url) as client:
        tenant = await client.tenant()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(full)
        for recipients in (["a@b.test"], many):
            with pytest.raises(aio.AioRpcError) as refused:
                await tenant.send(*recipients)
            assert refused.value.code() is StatusCode.RESOURCE_EXHAUSTED
            trailers: Any = refused.value.trailing_metadata()
            assert dict(trailers)["retry-after"] == "30"
        assert announced(database_url) == []
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP TRIGGER no_room ON deliveries")
        assert (await tenant.send("a@b.test")).accepted_count == 1


async def test_what_is_announced_is_signed_and_whole(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    addresses = [f"r{i}@example.org" for i in range(150)]
    async with running_gateway(database_url, fresh_nats.url) as client:
        tenant = await client.tenant()
        await tenant.send(*addresses)
        await eventually(lambda: announced(database_url) == [(150, 150)])
    connection = await nats.connect(fresh_nats.url)
    found: list[BatchAccepted] = []
    for number in (1, 2):
        message = await connection.jetstream().get_msg(stream_of(BatchAccepted).name, number)
        headers = {name.removeprefix("ce-"): value for name, value in (message.headers or {}).items()}
        event = CloudEvent.of(headers | {"datacontenttype": headers["content-type"]}, message.data or b"")
        assert event.source == "/kannon/gateway"
        assert event.traceparent
        payload = Sealer(EVENTS_KEY, "/test").open(event, [BatchAccepted])
        assert isinstance(payload, BatchAccepted)
        found.append(payload)
    await connection.close()
    found.sort(key=lambda payload: payload.recipients[0].seq)
    assert [len(payload.recipients) for payload in found] == [100, 50]
    items = [item for payload in found for item in payload.recipients]
    assert [(item.seq, item.address) for item in items] == list(enumerate(addresses))


async def test_a_large_batch_is_announced_as_fast_as_it_is_worked_off(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    connection = await nats.connect(fresh_nats.url)
    stream, js = stream_of(BatchAccepted).name, connection.jetstream()

    async def work_off() -> None:
        await js.purge_stream(stream)

    async with running_gateway(database_url, fresh_nats.url) as client:
        tenant = await client.tenant()
        await tenant.send("first@example.org")
        await eventually(lambda: announced(database_url) == [(1, 1)])
        await tenant.send(*(f"r{i}@example.org" for i in range(5_000)))
        await eventually(lambda: announced(database_url)[1][1] >= 2_000)
        await tenant.send("small@example.org")
        await eventually(lambda: announced(database_url)[2] == (1, 1))
        assert announced(database_url)[1][1] < 3_000
        while announced(database_url)[1] != (5_000, 5_000):
            before = announced(database_url)[1][1]
            await work_off()
            await eventually(lambda at=before: announced(database_url)[1][1] > at)
    await connection.close()


async def test_nats_that_was_never_there(database_url: str) -> None:
    nowhere = f"nats://127.0.0.1:{free_port()}"
    async with running_gateway(database_url, nowhere, connected=False) as client:
        tenant = await client.tenant()
        assert (await tenant.send("a@b.test")).accepted_count == 1
        assert await hz(client) == {"database": "OK", "nats": "unreachable"}
    assert announced(database_url) == [(1, 0)]


async def test_postgres_goes_and_comes_back(open_folder: Path, nats_url: str, eventually: Eventually) -> None:
    with DataFolder(open_folder / f"gateway-{os.getpid()}") as folder:
        server = EmbeddedPostgres(folder)
        await server.start()
        migrate(server.url)
        async with running_gateway(server.url, nats_url) as client:
            tenant = await client.tenant()
            await server.stop()
            mail, domains, dependencies = await together(
                tenant.send("a@b.test"),
                refusal(client.admin("Api/GetDomains", admin_pb2.GetDomainsReq())),
                hz(client),
            )
            assert isinstance(mail, aio.AioRpcError)
            assert mail.code() is StatusCode.UNAVAILABLE
            assert "PostgreSQL" in (mail.details() or "")
            trailers: Any = mail.trailing_metadata()
            assert dict(trailers)["retry-after"] == "1"
            assert domains[0] is StatusCode.UNAVAILABLE
            assert str(server.port) not in domains[1]
            assert dependencies["database"] in ("unreachable", "timeout")
            await server.start()
            await eventually(lambda: is_ok(client, "database"), within=20)
            assert (await tenant.send("a@b.test")).accepted_count == 1
        await server.stop()


async def together(*calls: Awaitable[object]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def is_ok(client: Client, dependency: str, wanted: str = "OK") -> bool:
    return (await hz(client))[dependency] == wanted


async def test_health_and_reflection(database_url: str, nats_url: str) -> None:
    names = {service.full_name for service in SERVICES}
    async with running_gateway(database_url, nats_url) as client:
        health = health_pb2_grpc.HealthStub(client.channel)
        for name in ("", *names):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        ask = reflection_pb2.ServerReflectionRequest
        answers = stub.ServerReflectionInfo(
            iter([ask(list_services=""), *(ask(file_containing_symbol=name) for name in names)])
        )
        listed, *files = [answer async for answer in answers]
        listed_names = {service.name for service in listed.list_services_response.service}
        assert names | {"grpc.health.v1.Health"} <= listed_names
        assert all(file.file_descriptor_response.file_descriptor_proto for file in files)
        unknown = client.channel.unary_unary("/pkg.kannon.mailer.apiv1.Mailer/Nothing", bytes, bytes)
        code, _ = await refusal(unknown(b""))
        assert code is StatusCode.UNIMPLEMENTED


class Process:
    """A gateway as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def until(self, message: str) -> dict[str, Any]:
        """Read its log up to this message."""
        assert self.process.stdout
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["message"] == message:
                return self.lines[-1]
        raise AssertionError(f"ended before {message!r}: {self.lines}")


@asynccontextmanager
async def started(settings: Mapping[str, str]) -> AsyncIterator[Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api_gateway"),
        env={**environment, "HOME": "/nonexistent", **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def settings_of(database_url: str, nats_url: str) -> dict[str, str]:
    return {
        "K_DATABASE_URL": database_url,
        "K_NATS_URL": nats_url,
        "K_SECRET": SECRET,
        "K_API_ADMIN_TOKEN": ADMIN_TOKEN,
        "K_API_HOST": "127.0.0.1",
        "K_API_PORT": "0",
    }


async def test_a_process_finishes_its_calls_when_told_to_stop(
    database_url: str, nats_url: str, eventually: Eventually
) -> None:
    async with started(settings_of(database_url, nats_url)) as gateway:
        port = (await gateway.until("ready"))["port"]
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = Client(channel)
            await eventually(lambda: is_ok(client, "nats"))
            tenant = await client.tenant()
            with psycopg.connect(database_url) as holder:
                holder.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
                call = asyncio.create_task(tenant.send(*(f"r{i}@example.org" for i in range(1_000))))
                await eventually(lambda: waiting_for_a_lock(database_url))
                gateway.process.send_signal(signal.SIGTERM)
                await eventually(lambda: refuses_connections(port))
                assert not call.done()
            assert (await call).accepted_count == 1_000
        assert await gateway.process.wait() == 0
        assert announced(database_url) == [(1_000, 1_000)]
        output = await gateway.process.communicate()
        assert tenant.key not in str((gateway.lines, output))
        assert ADMIN_TOKEN not in str((gateway.lines, output))


async def test_a_port_in_use_is_named(database_url: str, nats_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        async with started(settings_of(database_url, nats_url) | {"K_API_PORT": str(port)}) as gateway:
            _, errors = await gateway.process.communicate()
            assert gateway.process.returncode == 2
            assert f"api.port (K_API_PORT), api.host (K_API_HOST): cannot listen on 127.0.0.1:{port}" in str(
                errors
            )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"K_DATABASE_URL": None}, "database_url (K_DATABASE_URL)"),
        ({"K_NATS_URL": None}, "nats_url (K_NATS_URL)"),
        ({"K_SECRET": None}, "secret (K_SECRET)"),
        ({"K_API_ADMIN_TOKEN": None}, "api.admin_token (K_API_ADMIN_TOKEN)"),
        ({"K_API_ADMIN_TOKEN": ""}, "api.admin_token (K_API_ADMIN_TOKEN)"),
        ({"K_API_MAX_MESSAGE": "much"}, "api.max_message (K_API_MAX_MESSAGE)"),
    ],
)
async def test_a_missing_setting_is_named(changes: dict[str, str | None], named: str) -> None:
    wanted = settings_of("postgresql://127.0.0.1:1/x", "nats://127.0.0.1:1") | changes
    async with started({name: value for name, value in wanted.items() if value is not None}) as gateway:
        _, errors = await gateway.process.communicate()
        assert gateway.process.returncode == 2
        assert named in errors.decode()


async def test_it_stops_while_it_waits_for_postgres() -> None:
    settings = settings_of(f"postgresql://127.0.0.1:{free_port()}/x", "nats://127.0.0.1:1")
    async with started(settings) as gateway:
        await gateway.until("waiting for PostgreSQL")
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert await gateway.process.wait() == 0
        assert time.monotonic() - began < 5
