"""Domains and their API keys in PostgreSQL: implements `ports.Directory`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.access import Role
from kannon.core.errors import Conflict
from kannon.core.keys import NONCE_BYTES, seal
from kannon.core.limits import OwnLimits
from kannon.core.tracking.policy import Policy
from kannon.ports import DomainRecord, KeyRecord

SQL = queries("directory")


class PostgresDirectory:
    """Domains and keys, read afresh at each call: what is revoked is revoked at once.

    Args:
        dkim_key: the subkey under which DKIM private keys are sealed, in the context of their Domain's name.
    """

    def __init__(self, database: Database, dkim_key: bytes) -> None:
        self._database = database
        self._dkim_key = dkim_key

    async def add_domain(self, name: str, dkim_private_key: bytes, dkim_public_key: str) -> DomainRecord:
        """See `ports.Directory`."""
        sealed = seal(self._dkim_key, dkim_private_key, os.urandom(NONCE_BYTES), name)
        async with self._database.statement() as connection:
            cursor = await connection.execute(
                SQL["add_domain"],
                {"name": name, "dkim_private_key": sealed, "dkim_public_key": dkim_public_key},
            )
            row = await cursor.fetchone()
        if row is None:
            raise Conflict(f"the domain {name} exists already")
        return _domain(row)

    async def domain(self, name: str) -> DomainRecord | None:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            row = await (await connection.execute(SQL["domain"], {"name": name})).fetchone()
        return _domain(row) if row else None

    async def domains(self) -> Sequence[DomainRecord]:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            rows = await (await connection.execute(SQL["domains"])).fetchall()
        return [_domain(row) for row in rows]

    async def set_tracking(self, name: str, policy: Policy) -> DomainRecord | None:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            cursor = await connection.execute(SQL["set_tracking"], {"name": name, "tracking": policy.digits})
            row = await cursor.fetchone()
        return _domain(row) if row else None

    async def add_key(self, record: KeyRecord, key_hash: bytes) -> None:
        """See `ports.Directory`; raises Conflict if there is no such Domain."""
        async with self._database.statement() as connection:
            cursor = await connection.execute(SQL["add_key"], asdict(record) | {"key_hash": key_hash})
        if cursor.rowcount == 0:
            raise Conflict(f"there is no domain {record.domain}")

    async def key(self, domain: str, key_hash: bytes) -> tuple[KeyRecord, OwnLimits] | None:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            cursor = await connection.execute(SQL["key"], {"domain": domain, "key_hash": key_hash})
            row = await cursor.fetchone()
        if row is None:
            return None
        limits = OwnLimits(*(row.pop(field.name) for field in fields(OwnLimits)))
        return _key(row), limits

    async def key_named(self, domain: str, key_id: str) -> KeyRecord | None:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            cursor = await connection.execute(SQL["key_named"], {"domain": domain, "id": key_id})
            row = await cursor.fetchone()
        return _key(row) if row else None

    async def keys(
        self, domain: str, skip: int, take: int, active_at: datetime | None = None
    ) -> tuple[int, Sequence[KeyRecord]]:
        """See `ports.Directory`."""
        wanted = {"domain": domain, "skip": skip, "take": take, "active_at": active_at}
        async with self._database.transaction() as connection:
            counted = await (await connection.execute(SQL["count_keys"], wanted)).fetchone()
            rows = await (await connection.execute(SQL["keys"], wanted)).fetchall()
        return (counted["total"] if counted else 0), [_key(row) for row in rows]

    async def deactivate_key(self, domain: str, key_id: str, now: datetime) -> KeyRecord | None:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            cursor = await connection.execute(
                SQL["deactivate_key"], {"domain": domain, "id": key_id, "now": now}
            )
            row = await cursor.fetchone()
        return _key(row) if row else None

    async def limits(self, domain: str) -> OwnLimits | None:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            row = await (await connection.execute(SQL["limits"], {"name": domain})).fetchone()
        return OwnLimits(**row) if row else None

    async def set_limits(self, domain: str, limits: OwnLimits) -> bool:
        """See `ports.Directory`."""
        async with self._database.statement() as connection:
            cursor = await connection.execute(SQL["set_limits"], {"name": domain} | asdict(limits))
        return cursor.rowcount > 0


def _key(row: DictRow) -> KeyRecord:
    return KeyRecord(**row | {"role": Role(row["role"])})


def _domain(row: Mapping[str, Any]) -> DomainRecord:
    return DomainRecord(**{**row, "tracking": Policy.of_digits(row["tracking"])})
