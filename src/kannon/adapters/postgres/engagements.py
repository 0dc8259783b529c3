"""Opens and clicks, written to PostgreSQL in a transaction of the ledger."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from kannon.adapters.postgres.connection import Connection, as_json, queries
from kannon.core.erasure import ERASED
from kannon.core.payloads import Act, Engagement
from kannon.core.tracking.policy import Mode

SQL = {"record_engagements": queries("ledger")["record_engagements"]}
_COUNTED = frozenset({Act.OPENED, Act.CLICKED})
_MODES = as_json({int(mode): mode.name.lower() for mode in Mode})


async def record_engagements(connection: Connection, engagements: Sequence[Engagement], now: datetime) -> int:
    """See `ports.LedgerWork`."""
    rows = [_row(one) for one in engagements if one.act in _COUNTED and one.mode is not Mode.OFF]
    if not rows:
        return 0
    wanted = {"engagements": as_json(rows), "now": now, "modes": _MODES, "erased": ERASED}
    found = await (await connection.execute(SQL["record_engagements"], wanted)).fetchone()
    return int(found["fresh"]) if found else 0


def _row(one: Engagement) -> tuple[object, ...]:
    seq = one.seq if one.mode >= Mode.IDENTIFIED else None
    pseudonym = one.pseudonym if one.mode is Mode.PSEUDONYMOUS else ""
    return (
        *(one.id, one.act, one.mode, one.domain, one.batch, one.at, seq, pseudonym, one.machine),
        _data(one),
    )


def _data(one: Engagement) -> Mapping[str, str]:
    """What its mode allows to be kept, whatever the event says."""
    known = {"url": one.url}
    if one.mode is Mode.FULL:
        known |= {"ip": one.ip, "user_agent": one.user_agent}
    return {name: value for name, value in known.items() if value}
