"""The connection pool, transactions, and the queries in `sql/`."""

import asyncio
import logging
import re
import select
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

import msgspec
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from kannon.adapters.postgres.clock import LedgerClock
from kannon.core.errors import KannonError, LedgerFull, LedgerUnavailable

Connection = psycopg.AsyncConnection[DictRow]
log = logging.getLogger(__name__)

CHECKOUT_TIMEOUT = 5.0
"""Seconds to wait for a connection: callers are told to come again rather than held."""


INSUFFICIENT_RESOURCES = "53"
"""The class of SQLSTATE for a full disk, memory or too many connections."""


_SQL = Path(__file__).with_name("sql")


@cache
def queries(name: str, folder: Path = _SQL) -> Mapping[str, LiteralString]:
    """The queries of `<name>.sql`, by the names that stand above them (`-- name: …`)."""
    text = folder.joinpath(f"{name}.sql").read_text()
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {part: cast("LiteralString", query) for part, query in zip(parts[1::2], parts[2::2], strict=True)}


def as_json(value: object) -> str:
    """Rows or fields for a statement as one parameter: psycopg takes 15 times as long for arrays."""
    return msgspec.json.encode(value).decode()


class LedgerRefuses(KannonError):
    """PostgreSQL answers, and will not let us in, however long we wait."""


def refusal(error: psycopg.Error) -> LedgerRefuses | None:
    """What no waiting mends: bad credentials, an unknown database, an unreadable URL. None: it may pass."""
    if isinstance(error, psycopg.ProgrammingError):
        return LedgerRefuses("database_url (K_DATABASE_URL) is no URL that PostgreSQL's client understands")
    text = str(error)
    for sign, meaning in _REFUSALS:
        if sign in text:
            return LedgerRefuses(f"database_url (K_DATABASE_URL): {meaning}")
    return None


# libpq gives no SQLSTATE for what fails while connecting; these words are those of the server and of libpq.
_REFUSALS = (
    ("password authentication failed", "PostgreSQL refuses the user or the password"),
    ("no password supplied", "PostgreSQL asks for a password"),
    ("no pg_hba.conf entry", "PostgreSQL lets this user not in from here"),
    ("does not exist", "the database or the user does not exist"),
    ("invalid integer value", "a parameter has a wrong value"),
    ("invalid connection option", "a parameter is unknown"),
)


async def check_credentials(url: str) -> None:
    """Connect once.

    Raises:
        LedgerRefuses: PostgreSQL will not let us in; that it is away is no answer, and passes.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=5)
    except psycopg.Error as error:
        if (final := refusal(error)) is not None:
            raise final from None
    else:
        await connection.close()


async def _fit_to_what_is_between(connection: Connection) -> None:
    """Prepare no statements where a pooler stands between: the next transaction may be on another session.

    PgBouncer and its like tell a client of a process that is theirs, not the server's.
    """
    row = await (await connection.execute(queries("connection")["backend"], prepare=False)).fetchone()
    if row is None or row["pid"] != connection.info.backend_pid:
        connection.prepare_threshold = None


async def _check(connection: Connection) -> None:
    """Raise an error if the connection is dead. One that was closed has something to read, others have not:
    only where there is something the server is asked."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


class Database:
    """A pool of connections to PostgreSQL that survives its restarts.

    Args:
        url: where it is; never logged.
        size: connections at the most.

    Attributes:
        clock: what all go by who work on it.
    """

    def __init__(self, url: str, size: int = 4) -> None:
        self._url = url
        self.clock = LedgerClock()
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=cast("type[Connection]", psycopg.AsyncConnection),
            kwargs={"row_factory": dict_row, "autocommit": True, "prepare_threshold": 2},
            min_size=1,
            max_size=size,
            timeout=CHECKOUT_TIMEOUT,
            max_idle=300,
            reconnect_timeout=2.0,
            check=_check,
            configure=_fit_to_what_is_between,
            open=False,
        )

    async def open(self, give_up_after: float = 60.0) -> None:
        """Connect; waits for PostgreSQL, and says so.

        Args:
            give_up_after: seconds.

        Raises:
            LedgerRefuses: it will not let us in.
            LedgerUnavailable: it did not answer in that time.
        """
        await check_credentials(self._url)
        await self._pool.open()
        deadline = time.monotonic() + give_up_after
        while True:
            try:
                async with self._pool.connection(timeout=2.0) as connection:
                    await self._look_at_the_clock(connection)
                    return
            except (PoolTimeout, psycopg.OperationalError):
                if time.monotonic() > deadline:
                    await self._pool.close()
                    raise LedgerUnavailable(
                        f"PostgreSQL (database_url, K_DATABASE_URL) did not answer for {give_up_after:.0f} s"
                    ) from None
                log.warning(
                    "waiting for PostgreSQL", extra={"seconds_left": round(deadline - time.monotonic())}
                )
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Connection]:
        """A connection for a statement that stands alone: it is a transaction of its own.

        Raises:
            LedgerFull: PostgreSQL has no room for what is to be written.
            LedgerUnavailable: PostgreSQL is away, or restarts.
        """
        try:
            async with self._pool.connection() as connection:
                await self._look_at_the_clock(connection)
                yield connection
        except PoolTimeout:
            raise LedgerUnavailable("PostgreSQL has no connection free") from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if (error.sqlstate or "").startswith(INSUFFICIENT_RESOURCES):
                log.error("the ledger has no room", extra={"error": type(error).__name__})
                raise LedgerFull from error
            log.warning("the ledger did not answer", extra={"error": type(error).__name__})
            raise LedgerUnavailable("PostgreSQL does not answer") from error

    async def _look_at_the_clock(self, connection: Connection) -> None:
        if self.clock.is_stale:
            await self.clock.look(connection, queries("clock")["now"])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction: commits at the end, rolls back on an exception.

        Raises:
            LedgerUnavailable: PostgreSQL is away, restarts, or chose this transaction to break a deadlock.
        """
        async with self.statement() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Connection]:
        """A transaction whose statements go out without waiting for one another, until a result is read.

        An error is raised where the next result is read, or at the end; COPY is not possible.

        Raises:
            LedgerUnavailable: as `transaction`.
        """
        async with self.statement() as connection, connection.pipeline(), connection.transaction():
            yield connection
