"""The keys of tracking tokens in PostgreSQL: implements `ports.SigningKeys` and `ports.PublicKeys`."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from secrets import token_urlsafe
from typing import Any

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.core.keys import NONCE_BYTES, open_sealed, seal
from kannon.core.tracking.keys import DatedKey, Span, next_span
from kannon.core.tracking.tokens import SEED_BYTES, SigningKey

SQL = queries("tracking_keys")
_KID_BYTES = 6
"""Eight characters: an id is in every token, and need only tell the few keys of an installation apart."""


class PostgresTrackingKeys:
    """Keeps keys, their private halves sealed in the context of their ids.

    Args:
        sealing_key: the subkey for that; who only reads tokens does not have it.
    """

    def __init__(self, database: Database, sealing_key: bytes = b"") -> None:
        self._database = database
        self._sealing_key = sealing_key

    async def signing_keys(self) -> Sequence[DatedKey]:
        """See `ports.SigningKeys`; raises SealBroken if they were sealed with another key."""
        async with self._database.statement() as connection:
            rows = await (await connection.execute(SQL["signing_keys"])).fetchall()
        return [
            DatedKey(
                row["kid"],
                open_sealed(self._sealing_key, row["private_key"], row["kid"]),
                row["signs_from"],
            )
            for row in rows
        ]

    async def rotate(self, now: datetime) -> bool:
        """See `ports.SigningKeys`."""
        async with self._database.statement() as connection:
            last = await _last(connection, now)
        if last is not None and not last["any_over"] and next_span(_span(last), now) is None:
            return False
        async with self._database.transaction() as connection:
            await connection.execute(SQL["alone"])
            made = await self._make_next(connection, await _last(connection, now), now)
            await connection.execute(SQL["forget"], {"now": now})
        return made

    async def public_keys(self) -> Mapping[str, bytes]:
        """See `ports.PublicKeys`."""
        async with self._database.statement() as connection:
            rows = await (await connection.execute(SQL["public_keys"])).fetchall()
        return {row["kid"]: row["public_key"] for row in rows}

    async def _make_next(self, connection: Connection, last: dict[str, Any] | None, now: datetime) -> bool:
        span = next_span(_span(last) if last else None, now)
        if span is None:
            return False
        if last is not None:
            extended = Span(last["signs_from"], span.start)
            await connection.execute(
                SQL["extend"], {"kid": last["kid"], "end": extended.end, "over_at": extended.over_at}
            )
        kid, seed = token_urlsafe(_KID_BYTES), os.urandom(SEED_BYTES)
        await connection.execute(
            SQL["add"],
            {
                "kid": kid,
                "public_key": SigningKey(kid, seed).public,
                "private_key": seal(self._sealing_key, seed, os.urandom(NONCE_BYTES), kid),
                "now": now,
                "start": span.start,
                "end": span.end,
                "over_at": span.over_at,
            },
        )
        return True


async def _last(connection: Connection, now: datetime) -> dict[str, Any] | None:
    return await (await connection.execute(SQL["last"], {"now": now})).fetchone()


def _span(last: Mapping[str, Any]) -> Span:
    return Span(last["signs_from"], last["signs_until"])
