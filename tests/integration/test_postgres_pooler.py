"""What the ledger's connections do where a pooler such as PgBouncer stands before PostgreSQL."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kannon.adapters.postgres.connection import Database


@dataclass
class Between:
    """Stands between client and PostgreSQL, and notes what is prepared.

    Attributes:
        is_pooler: whether it tells of a process of its own, as poolers do; otherwise it only listens.
        prepared: the names of statements.
    """

    target: tuple[str, int]
    is_pooler: bool
    prepared: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self.target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._client(reader, to_server))
                group.create_task(self._server(from_server, writer))
        except* (asyncio.IncompleteReadError, OSError):
            pass  # one of them has gone
        finally:
            to_server.close()
            writer.close()

    async def _client(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        [length] = struct.unpack("!i", greeting := await reader.readexactly(4))  # the first has no kind
        to.write(greeting + await reader.readexactly(length - 4))
        while True:
            kind, head, body = await _message(reader)
            if kind == b"P" and (name := body.partition(b"\0")[0]):
                self.prepared.append(name)
            to.write(kind + head + body)

    async def _server(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while True:
            kind, head, body = await _message(reader)
            if kind == b"K" and self.is_pooler:
                [process] = struct.unpack("!i", body[:4])
                body = struct.pack("!i", process + 1) + body[4:]
            to.write(kind + head + body)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    kind, head = await reader.readexactly(1), await reader.readexactly(4)
    return kind, head, await reader.readexactly(struct.unpack("!i", head)[0] - 4)


@asynccontextmanager
async def database_behind(url: str, *, is_pooler: bool) -> AsyncIterator[tuple[Database, Between]]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    between = Between((parts.hostname, parts.port), is_pooler)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    own = parts._replace(
        netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}",
        query="sslmode=disable&gssencmode=disable",
    )
    database = Database(own.geturl(), size=1)
    await database.open()
    try:
        yield database, between
    finally:
        await database.close()
        server.close()


async def ask_often(database: Database) -> None:
    for number in range(6):
        async with database.transaction() as connection:
            found = await connection.execute("SELECT %s::integer AS number", (number,))
            assert await found.fetchone() == {"number": number}
        async with database.pipeline() as connection:
            await connection.execute("SELECT set_config('enable_seqscan', 'off', true)")


async def test_behind_a_pooler_no_statement_is_prepared(postgres_url: str) -> None:
    async with database_behind(postgres_url, is_pooler=True) as (database, between):
        await ask_often(database)
        assert between.prepared == []


async def test_without_one_statements_are(postgres_url: str) -> None:
    async with database_behind(postgres_url, is_pooler=False) as (database, between):
        await ask_often(database)
        assert between.prepared
