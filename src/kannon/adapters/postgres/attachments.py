"""What lies in the attachment store, in PostgreSQL: implements `ports.AttachmentUses`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.stored_objects import NEEDED_AFTER_EXPIRY

SQL = queries("attachments")


class PostgresAttachmentUses:
    """Notes and collects attachments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, domain: str, sizes: Mapping[str, int], until: datetime) -> None:
        """See `ports.AttachmentUses`."""
        # In whole hours, so that what comes with each of many calls is written once an hour.
        whole = until.replace(minute=0, second=0, microsecond=0) + NEEDED_AFTER_EXPIRY * 2
        noted = {"domain": domain, "digests": list(sizes), "sizes": list(sizes.values()), "until": whole}
        async with self._database.statement() as connection:
            await connection.execute(SQL["note"], noted)

    async def collect(
        self, limit: int, now: datetime, delete: Callable[[str, str], Awaitable[None]]
    ) -> Sequence[tuple[str, str]]:
        """See `ports.AttachmentUses`."""
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(SQL["over"], {"now": now, "limit": limit})).fetchall()
            if not rows:
                return ()
            over = _named(rows)
            look_again = {"look_again_at": now + NEEDED_AFTER_EXPIRY}
            rows = await (
                await connection.execute(SQL["keep_needed"], _columns(over) | look_again)
            ).fetchall()
            gone = sorted(set(over) - set(_named(rows)))
            for domain, digest in gone:
                await delete(domain, digest)
            await connection.execute(SQL["forget"], _columns(gone))
            return gone


def _named(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(row["domain"], row["digest"]) for row in rows]


def _columns(named: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {"domains": [domain for domain, _ in named], "digests": [digest for _, digest in named]}
