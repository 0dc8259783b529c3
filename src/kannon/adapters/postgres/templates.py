"""Templates and bodies in PostgreSQL: implements `ports.Templates`."""

from collections.abc import Sequence
from dataclasses import asdict

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.core.batch_options import Syntax
from kannon.core.batches import Body
from kannon.core.errors import Conflict
from kannon.ports import TemplateRecord

SQL = queries("templates")


class PostgresTemplates:
    """Names for bodies, and the bodies, which never change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, template_id: str, domain: str, title: str, body: Body) -> TemplateRecord:
        """See `ports.Templates`."""
        values = {"template_id": template_id, "domain": domain, "title": title}
        try:
            async with self._database.transaction() as connection:
                await connection.execute(SQL["add"], values | asdict(body))
        except ForeignKeyViolation:
            raise Conflict(f"there is no domain {domain}") from None
        return TemplateRecord(template_id, domain, "template", title, body)

    async def update(self, template_id: str, title: str | None, body: Body | None) -> TemplateRecord | None:
        """See `ports.Templates`."""
        async with self._database.transaction() as connection:
            before = await _row(connection, "lock", template_id=template_id)
            if before is None:
                return None
            number = before["body"] if body is None else await _add_body(connection, before["domain"], body)
            await connection.execute(
                SQL["update"], {"template_id": template_id, "title": title, "body": number}
            )
            if number != before["body"]:
                await _forget(connection, before["body"])
            return await _template(connection, template_id)

    async def delete(self, template_id: str) -> TemplateRecord | None:
        """See `ports.Templates`."""
        async with self._database.transaction() as connection:
            before = await _row(connection, "lock", template_id=template_id)
            if before is None:
                return None
            record = await _template(connection, template_id)
            await connection.execute(SQL["delete"], {"template_id": template_id})
            await _forget(connection, before["body"])
            return record

    async def template(self, template_id: str) -> TemplateRecord | None:
        """See `ports.Templates`."""
        async with self._database.transaction() as connection:
            return await _template(connection, template_id)

    async def curated(self, domain: str, skip: int, take: int) -> tuple[int, Sequence[TemplateRecord]]:
        """See `ports.Templates`."""
        wanted = {"domain": domain, "skip": skip, "take": take}
        async with self._database.transaction() as connection:
            counted = await (await connection.execute(SQL["count_curated"], wanted)).fetchone()
            rows = await (await connection.execute(SQL["curated"], wanted)).fetchall()
        return (counted["total"] if counted else 0), [_record(row) for row in rows]

    async def body_of(self, template_id: str, domain: str) -> int | None:
        """See `ports.Templates`."""
        async with self._database.transaction() as connection:
            row = await _row(connection, "body_of", template_id=template_id, domain=domain)
        return row["body"] if row else None

    async def body(self, number: int) -> Body | None:
        """See `ports.Templates`."""
        async with self._database.transaction() as connection:
            row = await _row(connection, "body", number=number)
        return _body(row) if row else None


async def _row(connection: Connection, query: str, **values: object) -> DictRow | None:
    return await (await connection.execute(SQL[query], values)).fetchone()


async def _template(connection: Connection, template_id: str) -> TemplateRecord | None:
    row = await _row(connection, "template", template_id=template_id)
    return _record(row) if row else None


def _record(row: DictRow) -> TemplateRecord:
    return TemplateRecord(row["template_id"], row["domain"], row["type"], row["title"], _body(row))


def _body(row: DictRow) -> Body:
    return Body(row["html"], row["text"], Syntax(row["syntax"]), row["css_inlined"])


async def _add_body(connection: Connection, domain: str, body: Body) -> int:
    row = await _row(connection, "add_body", domain=domain, **asdict(body))
    assert row is not None, "INSERT … RETURNING gives a row"
    number: int = row["number"]
    return number


async def _forget(connection: Connection, number: int) -> None:
    """Delete a body that nobody uses. Locked first, so that what is looked for next stays as it is; a body
    that is locked by somebody else is just being used."""
    if await _row(connection, "lock_body", number=number) is not None:
        await connection.execute(SQL["forget_body"], {"number": number})
