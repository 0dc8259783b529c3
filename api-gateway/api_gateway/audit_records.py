"""The procedure `ListAuditRecords` of `Api`. It is ours."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.pages import read_take
from api_gateway.timestamps import read_timestamp, write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.audit import AuditRecord, Decision
from kannon.core.errors import BadInput
from kannon.ports import AuditFilter, AuditTrail

DEFAULT_TAKE: Final = 100
MAX_TAKE: Final = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PLACE = re.compile(r"(\d{1,16})\.(\d{1,18})", re.ASCII)


class AuditDesk:
    """Shows who called what."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def list_audit_records(
        self, request: pb.ListAuditRecordsReq, _call: Call
    ) -> pb.ListAuditRecordsRes:
        """A page of records, newest first; raises BadInput."""
        take = read_take(request.take, DEFAULT_TAKE, MAX_TAKE)
        for name in ("procedure", "key_id", "client"):
            if "\0" in getattr(request, name):
                raise BadInput(f"{name}: must not hold NUL")
        wanted = AuditFilter(
            domain=read_domain(request.domain) if request.domain else "",
            procedure=request.procedure,
            decision=_decision(request.decision),
            key_id=request.key_id,
            client=request.client,
            since=read_timestamp("from_date", request.from_date) if request.HasField("from_date") else None,
            until=read_timestamp("to_date", request.to_date) if request.HasField("to_date") else None,
        )
        page = await self._trail.page(wanted, _place(request.before), take)
        return pb.ListAuditRecordsRes(
            records=[_written(record) for _, record in page.records],
            next=f"{(page.next[0] - _EPOCH) // _MICROSECOND}.{page.next[1]}" if page.next else "",
        )


def _decision(text: str) -> Decision | None:
    if not text:
        return None
    try:
        return Decision(text)
    except ValueError:
        raise BadInput(f"decision: must be one of {', '.join(Decision)}") from None


def _place(text: str) -> tuple[datetime, int] | None:
    if not text:
        return None
    if match := _PLACE.fullmatch(text):
        return _EPOCH + int(match[1]) * _MICROSECOND, int(match[2])
    raise BadInput("before: must be what the answer to the same request gave as next")


def _written(record: AuditRecord) -> pb.AuditRecord:
    return pb.AuditRecord(
        at=write_timestamp(record.at),
        procedure=record.procedure,
        decision=record.decision,
        reason=record.reason,
        domain=record.domain,
        key_id=record.key_id,
        role=record.role,
        client=record.client,
        attribution=record.attribution,
        trace=record.trace,
        count=record.count,
    )
