"""Mails counted against the limits of their Domain."""

from kannon.adapters.postgres.connection import Connection, queries
from kannon.core.limits import Limits, MailCount, check_count

SQL = queries("mail_counts")


async def count_mails(connection: Connection, domain: str, mails: int, limits: Limits) -> None:
    """Count mails within the transaction that accepts them.

    Raises:
        LimitReached: they are too many; roll back.
    """
    if not (mails and limits.count_mails):
        return
    row = await (await connection.execute(SQL["count"], {"domain": domain, "mails": mails})).fetchone()
    assert row is not None, "INSERT … RETURNING gives a row"
    check_count(MailCount(**row), mails, limits)
