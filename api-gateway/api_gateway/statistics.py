"""The procedures of `StatsApiV1` and `StatsApiV2`: what became of a Domain's mail."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.pages import read_take
from api_gateway.timestamps import read_range, write_timestamp
from kannon.adapters.pb import stats_types_pb2 as pb
from kannon.adapters.pb.stats_v1_pb2 import (
    GetStatsAggregatedReq,
    GetStatsAggregatedRes,
    GetStatsReq,
    GetStatsRes,
)
from kannon.adapters.pb.stats_v2_pb2 import GetAggregatedStatsReq, GetAggregatedStatsRes
from kannon.adapters.pb.tracking_pb2 import TrackingMode
from kannon.ports import StatsQueries, StatsRow

MAX_TAKE = 10_000
ROWS_AT_ONCE = 1000
"""Written before other calls are let run."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)
_DATA: Mapping[str, type[Message]] = {
    "accepted": pb.StatsDataAccepted,
    "delivered": pb.StatsDataDelivered,
    "failed": pb.StatsDataFailed,
    "bounced": pb.StatsDataBounced,
    "opened": pb.StatsDataOpened,
    "clicked": pb.StatsDataClicked,
    "rejected": pb.StatsDataRejected,
    "error": pb.StatsDataError,
    "complained": pb.StatsDataComplained,
}


class Statistics:
    """Answers from the statistics. A Domain that does not exist has none."""

    def __init__(self, queries: StatsQueries) -> None:
        self._queries = queries

    async def get_stats(self, request: GetStatsReq, _call: Call) -> GetStatsRes:
        """A page of Outcomes, oldest first, and how many there are; raises BadInput."""
        domain = read_domain(request.domain)
        start, end = read_range(request, _BEGINNING, _END)
        take = read_take(request.take, 0, MAX_TAKE)
        total, rows = await self._queries.rows(domain, start, end, request.skip, take)
        return GetStatsRes(total=total, stats=await _written(rows))

    async def get_stats_aggregated(
        self, request: GetStatsAggregatedReq, _call: Call
    ) -> GetStatsAggregatedRes:
        """Counts by hour and type; raises BadInput."""
        return GetStatsAggregatedRes(stats=await self._aggregated(request))

    async def get_aggregated_stats(
        self, request: GetAggregatedStatsReq, _call: Call
    ) -> GetAggregatedStatsRes:
        """The same, as the second version of the API calls it; raises BadInput."""
        return GetAggregatedStatsRes(stats=await self._aggregated(request))

    async def _aggregated(
        self, request: GetStatsAggregatedReq | GetAggregatedStatsReq
    ) -> list[pb.StatsAggregated]:
        domain = read_domain(request.domain)
        return [
            pb.StatsAggregated(type=count.type, timestamp=write_timestamp(count.hour), count=count.count)
            for count in await self._queries.counts(domain, *read_range(request, _BEGINNING, _END))
        ]


def write_outcome(row: StatsRow) -> pb.Stats:
    """An Outcome as the wire has it."""
    return pb.Stats(
        message_id=row.message_id,
        domain=row.domain,
        email=row.email,
        timestamp=write_timestamp(row.at),
        type=row.type,
        data=_data(row),
        tracking_mode=TrackingMode.ValueType(row.mode or 0),
    )


async def _written(rows: Sequence[StatsRow]) -> list[pb.Stats]:
    written: list[pb.Stats] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        written.extend(write_outcome(row) for row in rows[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)
    return written


def _data(row: StatsRow) -> pb.StatsData:
    """What is known of an Outcome; what this version has no field for is left out."""
    kind = _DATA.get(row.type)
    if kind is None:
        return pb.StatsData()
    known = {
        name: row.data[name] for name in kind.DESCRIPTOR.fields_by_name if row.data.get(name) is not None
    }
    member: dict[str, Any] = {row.type: kind(**known)}
    return pb.StatsData(**member)
