"""The procedure `ListDeliveries` of `Api`: what became of single mails."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from api_gateway.endpoints import Call
from api_gateway.names import read_address, read_domain
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from api_gateway.statistics import write_outcome
from api_gateway.timestamps import read_timestamp, write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.errors import BadInput
from kannon.ports import DeliveryFilter, DeliveryQueries, DeliveryRecord, Directory, StatsRow

DEFAULT_TAKE = 100
MAX_TAKE = 1000
DELIVERIES_AT_ONCE = 100
"""Written before other calls are let run."""

_RESULTS = frozenset({"delivered", "bounced", "failed", "error", "rejected"})
_MAX_BATCH, _MAX_SEQ = 2**63 - 1, 2**31 - 1
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Deliveries:
    """Shows Deliveries of a Domain."""

    def __init__(self, directory: Directory, queries: DeliveryQueries) -> None:
        self._directory = directory
        self._queries = queries

    async def list_deliveries(self, request: pb.ListDeliveriesReq, _call: Call) -> pb.ListDeliveriesRes:
        """A page of the Deliveries of a Batch, or of those to an address; raises BadInput and NotFound."""
        take = read_take(request.take, DEFAULT_TAKE, MAX_TAKE)
        wanted = await self._filter(request)
        page = await self._queries.page(wanted, _start(request, wanted), take)
        return pb.ListDeliveriesRes(
            deliveries=await _written(page.deliveries),
            next=str(page.next) if page.next else "",
            total=await self._queries.total(wanted) if request.with_total else None,
        )

    async def _filter(self, request: pb.ListDeliveriesReq) -> DeliveryFilter:
        domain, email, status = read_domain(request.domain), _email(request), _status(request)
        if request.message_id:
            if request.HasField("from_date"):
                raise BadInput("from_date: only where message_id is left out")
            return DeliveryFilter(domain, await self._batch(domain, request.message_id), email, status)
        if email is None:
            raise BadInput("message_id, email: at least one of them is needed")
        if request.with_total:
            raise BadInput("with_total: only with a message_id")
        since = (
            read_timestamp("from_date", request.from_date) if request.HasField("from_date") else _BEGINNING
        )
        if await self._directory.domain(domain) is None:
            raise NotFound(f"there is no domain {domain}")
        return DeliveryFilter(domain, None, email, status, since)

    async def _batch(self, domain: str, message_id: str) -> int:
        readable = message_id.isascii() and message_id.isprintable()
        number = await self._queries.batch(domain, message_id) if readable else None
        if number is None:
            raise NotFound(f"message_id: the domain {domain} has no message of that name")
        return number


def _email(request: pb.ListDeliveriesReq) -> str | None:
    return str(read_address("email", request.email)) if request.email else None


def _status(request: pb.ListDeliveriesReq) -> Status | None:
    if not request.status:
        return None
    try:
        return Status(request.status)
    except ValueError:
        raise BadInput(f"status: must be one of {', '.join(Status)}") from None


def _start(request: pb.ListDeliveriesReq, wanted: DeliveryFilter) -> DeliveryId | None:
    if not request.after:
        return None
    try:
        start = DeliveryId.parse(request.after)
    except ValueError:
        start = None
    if (
        start is None
        or start.batch > _MAX_BATCH
        or start.seq > _MAX_SEQ
        or wanted.batch not in (None, start.batch)
    ):
        raise BadInput("after: must be what the answer to the same request gave as next")
    return start


async def _written(records: Sequence[DeliveryRecord]) -> list[pb.Delivery]:
    written: list[pb.Delivery] = []
    for start in range(0, len(records), DELIVERIES_AT_ONCE):
        written.extend(_delivery(record) for record in records[start : start + DELIVERIES_AT_ONCE])
        await asyncio.sleep(0)
    return written


def _delivery(record: DeliveryRecord) -> pb.Delivery:
    last = _last_result(record)
    ended_at = last.at if last and last.type == record.status else record.cancelled_at
    return pb.Delivery(
        message_id=record.message_id,
        seq=record.id.seq,
        email=record.email,
        status=record.status,
        attempts=record.attempts,
        due_at=write_timestamp(record.due_at),
        expires_at=write_timestamp(record.expires_at),
        ended_at=write_timestamp(ended_at) if ended_at else None,
        last_code=_code(last),
        last_text=_text(last),
        outcomes=[write_outcome(row) for row in record.outcomes],
    )


def _last_result(record: DeliveryRecord) -> StatsRow | None:
    """Its end; before that, how the last try went."""
    kinds = {record.status.value} if record.status.value in _RESULTS else _RESULTS
    return next((row for row in reversed(record.outcomes) if row.type in kinds), None)


def _code(result: StatsRow | None) -> int:
    code = result.data.get("code") if result else None
    return code if isinstance(code, int) else 0


def _text(result: StatsRow | None) -> str:
    known = result.data if result else {}
    return str(known.get("msg") or known.get("reason") or "")
