"""The procedures of `StatsApiV3`: counts, rates, times, and single Outcomes."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from api_gateway.endpoints import Call
from api_gateway.names import read_address, read_domain
from api_gateway.outcome_lines import CsvLines, JsonLines, Lines, facts_of
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from api_gateway.timestamps import read_range, write_timestamp
from kannon.adapters.pb import stats_v3_pb2 as pb
from kannon.adapters.pb.tracking_pb2 import TrackingMode
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import BadInput
from kannon.core.public_events import event_id
from kannon.core.statistics import (
    COUNTED,
    BatchFilter,
    Counts,
    Dimension,
    Event,
    EventFilter,
    Interval,
    Latencies,
    Place,
    Question,
)
from kannon.ports import SERIES_AT_ONCE, Clock, DeliveryQueries, StatisticsQueries

DEFAULT_TAKE: Final = 100
MAX_TAKE: Final = 1000
MAX_VALUES: Final = 100
MAX_POINTS: Final = 10_000
"""Intervals in the range of a series: more than a year of hours."""
MAX_PERCENTILES: Final = 20
OUTCOMES_AT_ONCE: Final = 500
"""Written before other calls are let run."""

_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
"""Before anything was counted."""
_PERCENTILES: Final = (0.5, 0.9, 0.95, 0.99)
_MAX_SEQ = 2**31 - 1
_DIMENSIONS: Mapping[int, Dimension] = {
    pb.DIMENSION_UNSPECIFIED: Dimension.ALL,
    pb.DIMENSION_TEMPLATE: Dimension.TEMPLATE,
    pb.DIMENSION_RECIPIENT_DOMAIN: Dimension.RECIPIENT_DOMAIN,
    pb.DIMENSION_PROVIDER: Dimension.PROVIDER,
    pb.DIMENSION_CATEGORY: Dimension.CATEGORY,
    pb.DIMENSION_BATCH: Dimension.BATCH,
}
_WITH_LATENCIES = (Dimension.ALL, Dimension.TEMPLATE, Dimension.PROVIDER, Dimension.BATCH)
_INTERVALS: Mapping[int, tuple[Interval, timedelta]] = {
    pb.INTERVAL_HOUR: (Interval.HOUR, timedelta(hours=1)),
    pb.INTERVAL_DAY: (Interval.DAY, timedelta(days=1)),
    pb.INTERVAL_WEEK: (Interval.WEEK, timedelta(weeks=1)),
}
_FORMATS: Mapping[int, Callable[[], Lines]] = {
    pb.EXPORT_FORMAT_CSV: CsvLines,
    pb.EXPORT_FORMAT_JSONL: JsonLines,
}
TYPES: Final = frozenset(
    {"accepted", "rejected", "delivered", "bounced", "failed", "error", "complained", "opened", "clicked"}
)

_Ranged = pb.GetCountsReq | pb.GetSeriesReq | pb.GetLatenciesReq | pb.OutcomeFilter | pb.ListBatchesReq
_Counted = pb.GetCountsReq | pb.GetSeriesReq | pb.GetLatenciesReq
T = TypeVar("T")


class StatisticsDesk:
    """Answers from the rollups and from single Outcomes. A Domain that does not exist has none."""

    def __init__(self, statistics: StatisticsQueries, deliveries: DeliveryQueries, clock: Clock) -> None:
        self._statistics = statistics
        self._deliveries = deliveries
        self._clock = clock

    async def get_counts(self, request: pb.GetCountsReq, _call: Call) -> pb.GetCountsRes:
        """Counts and rates by a dimension; raises BadInput."""
        wanted = self._question(request)
        tallies = await self._statistics.breakdown(wanted, _take(request.take))
        return pb.GetCountsRes(
            tallies=[
                pb.Tally(value=one.value, counts=_counts(one.counts), rates=_rates(one.counts))
                for one in tallies
            ]
        )

    async def get_series(self, request: pb.GetSeriesReq, _call: Call) -> pb.GetSeriesRes:
        """Counts and rates by a dimension, for each interval; raises BadInput."""
        wanted = self._question(request)
        if wanted.dimension is not Dimension.ALL and not 0 < len(wanted.values) <= SERIES_AT_ONCE:
            raise BadInput(f"values: from 1 to {SERIES_AT_ONCE} must be named")
        if request.interval not in _INTERVALS:
            raise BadInput("interval: must be INTERVAL_HOUR, INTERVAL_DAY or INTERVAL_WEEK")
        interval, length = _INTERVALS[request.interval]
        if (wanted.end - wanted.start) / length > MAX_POINTS:
            raise BadInput(f"from_date, to_date: more than {MAX_POINTS:,} intervals lie between them")
        points = await self._statistics.series(wanted, interval, _zone(request.zone))
        return pb.GetSeriesRes(
            points=[
                pb.Point(
                    start=write_timestamp(one.start),
                    value=one.value,
                    counts=_counts(one.counts),
                    rates=_rates(one.counts),
                )
                for one in points
            ]
        )

    async def get_latencies(self, request: pb.GetLatenciesReq, _call: Call) -> pb.GetLatenciesRes:
        """Percentiles of the time to deliver; raises BadInput."""
        wanted = self._question(request)
        if wanted.dimension not in _WITH_LATENCIES:
            raise BadInput("dimension: times are known by template, provider and batch, and of all")
        shares = _shares(request.percentiles)
        found = await self._statistics.latencies(wanted, _take(request.take))
        return pb.GetLatenciesRes(latencies=[_latency(value, one, shares) for value, one in found.items()])

    async def get_timeline(self, request: pb.GetTimelineReq, _call: Call) -> pb.GetTimelineRes:
        """All Outcomes of one Delivery; raises BadInput and NotFound."""
        domain = read_domain(request.domain)
        check_text("message_id", request.message_id)
        batch = await self._deliveries.batch(domain, request.message_id)
        if batch is None or request.seq > _MAX_SEQ:
            raise NotFound(f"message_id, seq: the domain {domain} has no such mail")
        found = await self._statistics.timeline(domain, DeliveryId(batch, request.seq))
        return pb.GetTimelineRes(outcomes=[write_event(one) for one in found])

    async def list_outcomes(self, request: pb.ListOutcomesReq, _call: Call) -> pb.ListOutcomesRes:
        """A page of single Outcomes; raises BadInput."""
        wanted = self._filter(request.filter)
        page = await self._statistics.events(wanted, _read_place(request.after), _take(request.take))
        return pb.ListOutcomesRes(
            outcomes=[write_event(one) for one in page.events],
            next=_write_place(page.next) if page.next else "",
        )

    async def list_batches(self, request: pb.ListBatchesReq, _call: Call) -> pb.ListBatchesRes:
        """A page of Batches; raises BadInput."""
        start, end = self._range(request)
        check_text("subject", request.subject)
        if request.after < 0:
            raise BadInput("after: must be what the answer to the same request gave as next")
        wanted = BatchFilter(read_domain(request.domain), start, end, request.subject)
        page = await self._statistics.batches(wanted, request.after or None, _take(request.take))
        return pb.ListBatchesRes(
            batches=[
                pb.BatchSummary(
                    message_id=one.message_id,
                    subject=one.subject,
                    template_id=one.template_id,
                    recipients=one.recipients,
                    accepted_at=write_timestamp(one.accepted_at),
                )
                for one in page.batches
            ],
            next=page.next or 0,
        )

    async def export_outcomes(
        self, request: pb.ExportOutcomesReq, _call: Call
    ) -> AsyncGenerator[pb.ExportOutcomesRes, None]:
        """All Outcomes as text, in whole lines; raises BadInput."""
        if request.format not in _FORMATS:
            raise BadInput("format: must be EXPORT_FORMAT_CSV or EXPORT_FORMAT_JSONL")
        lines = _FORMATS[request.format]()
        wanted = self._filter(request.filter)
        if heading := lines.heading():
            yield pb.ExportOutcomesRes(data=heading)
        async for page in self._statistics.export(wanted):
            for some in _in_slices(page, OUTCOMES_AT_ONCE):
                yield pb.ExportOutcomesRes(data=lines.write(some))
                await asyncio.sleep(0)

    def _question(self, request: _Counted) -> Question:
        start, end = self._range(request)
        dimension = _DIMENSIONS.get(request.dimension)
        if dimension is None:
            raise BadInput("dimension: no such one")
        if len(request.values) > MAX_VALUES:
            raise BadInput(f"values: must not be more than {MAX_VALUES}")
        if dimension is Dimension.ALL and request.values:
            raise BadInput("values: only with a dimension")
        if dimension is Dimension.BATCH and not request.values:
            raise BadInput("values: must name message ids")
        for at, value in enumerate(request.values):
            check_text(f"values[{at}]", value)
        return Question(read_domain(request.domain), start, end, dimension, tuple(request.values))

    def _filter(self, request: pb.OutcomeFilter) -> EventFilter:
        start, end = self._range(request, "filter.")
        if request.type and request.type not in TYPES:
            raise BadInput(f"filter.type: must be one of {', '.join(sorted(TYPES))}")
        check_text("filter.message_id", request.message_id)
        return EventFilter(
            domain=read_domain(request.domain),
            start=start,
            end=end,
            email=str(read_address("filter.email", request.email)) if request.email else "",
            message_id=request.message_id,
            type=request.type,
        )

    def _range(self, request: _Ranged, within: str = "") -> tuple[datetime, datetime]:
        start, end = read_range(request, _BEGINNING, self._clock() + timedelta(hours=1), within)
        return max(start, _BEGINNING), end


def write_event(event: Event) -> pb.Outcome:
    """An Outcome as the wire has it."""
    outcome = "deferred" if event.type == "error" else event.type
    subject = str(event.delivery or event.message_id)
    return pb.Outcome(
        at=write_timestamp(event.at),
        event_id=event_id(outcome, subject, event.attempt, event.at, event.id),
        stage=str(event.data.get("stage") or ""),
        hard=event.data.get("hard") is True,
        permanent=event.data.get("permanent") is True,
        late=event.data.get("late") is True,
        tracking_mode=TrackingMode.ValueType(event.mode or 0),
        **facts_of(event),
    )


def _counts(counts: Counts) -> pb.Counts:
    return pb.Counts(**{name: getattr(counts, name) for name in COUNTED})


def _rates(counts: Counts) -> pb.Rates:
    return pb.Rates(**{name: share for name, share in counts.rates().items() if share is not None})


def _latency(value: str, found: Latencies, shares: Iterable[float]) -> pb.Latency:
    times = [(share, found.percentile(share)) for share in shares]
    return pb.Latency(
        value=value,
        delivered=found.total,
        percentiles=[
            pb.Percentile(share=share, seconds=time.total_seconds()) for share, time in times if time
        ],
    )


def _shares(given: Sequence[float]) -> Sequence[float]:
    if len(given) > MAX_PERCENTILES or not all(0 < share <= 1 for share in given):
        raise BadInput(f"percentiles: up to {MAX_PERCENTILES}, each above 0 and up to 1")
    return tuple(given) or _PERCENTILES


def _take(given: int) -> int:
    return read_take(given, DEFAULT_TAKE, MAX_TAKE)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError, LookupError):  # none, a folder, or no name at all
        raise BadInput("zone: must be a name of the IANA time zone database, like Europe/Rome") from None


def check_text(field: str, text: str) -> None:
    """Raises BadInput for what PostgreSQL has no text of."""
    if "\0" in text:
        raise BadInput(f"{field}: must not contain NUL")


def _write_place(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read_place(text: str) -> Place | None:
    if not text:
        return None
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place = msgspec.json.decode(octets, type=Place)
        if place.at.tzinfo is None or "\0" in place.type + place.id:
            raise ValueError("not one of ours")
    except (ValueError, msgspec.MsgspecError):
        raise BadInput("after: must be what the answer to the same request gave as next") from None
    return place


def _in_slices(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
