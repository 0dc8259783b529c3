"""Statistics in memory: all is counted anew from Events, each time. They keep to the contract of the port."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil, log2
from zoneinfo import ZoneInfo

from kannon.core.deliveries import DeliveryId
from kannon.core.errors import CursorAhead, LedgerUnavailable
from kannon.core.grains import Grain, floor_of
from kannon.core.providers import provider_of
from kannon.core.statistics import (
    BatchFilter,
    BatchFound,
    BatchPage,
    Counts,
    Dimension,
    Event,
    EventFilter,
    EventPage,
    Interval,
    Latencies,
    LogPage,
    LogPlace,
    Place,
    Point,
    Question,
    Tally,
)
from kannon.ports import TIMELINE_SHOWN

_COUNTED = {"error": "deferred"}


@dataclass
class FakeStatisticsQueries:
    """Events as they were told, of Batches by number; `away` makes it answer nothing."""

    found: dict[int, BatchFound] = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)
    away: bool = False

    async def breakdown(self, wanted: Question, take: int) -> Sequence[Tally]:
        """See `ports.StatisticsQueries`."""
        sums: dict[str, Counts] = defaultdict(Counts)
        for event, value in self._asked(wanted):
            sums[value] += self._counts(event)
        ranked = sorted(sums.items(), key=lambda item: (-item[1].ended, item[0]))
        return [Tally(value, counts) for value, counts in ranked[:take]]

    async def series(self, wanted: Question, interval: Interval, zone: ZoneInfo) -> Sequence[Point]:
        """See `ports.StatisticsQueries`."""
        sums: dict[tuple[datetime, str], Counts] = defaultdict(Counts)
        for event, value in self._asked(wanted):
            start = _start(floor_of(event.at, Grain.HOUR).astimezone(zone), interval)
            sums[start, value] += self._counts(event)
        return [Point(start, value, sums[start, value]) for start, value in sorted(sums)]

    async def latencies(self, wanted: Question, take: int) -> Mapping[str, Latencies]:
        """See `ports.StatisticsQueries`."""
        found: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for event, value in self._asked(wanted):
            if event.type == "delivered":
                took = (event.at - self.found[event.batch].accepted_at).total_seconds()
                found[value][max(0, ceil(2 * log2(max(took, 0.001) / 0.05)))] += 1
        ranked = sorted(found, key=lambda value: (-sum(found[value].values()), value))
        return {value: Latencies(dict(found[value])) for value in ranked[:take]}

    async def timeline(self, domain: str, delivery: DeliveryId) -> Sequence[Event]:
        """See `ports.StatisticsQueries`."""
        events = [one for one in self._all() if one.delivery == delivery and one.domain == domain]
        return sorted(events, key=lambda one: (one.at, one.attempt, one.type, one.id))[-TIMELINE_SHOWN:]

    async def events(self, wanted: EventFilter, start: Place | None, take: int) -> EventPage:
        """See `ports.StatisticsQueries`."""
        events = [
            one
            for one in self._all()
            if one.domain == wanted.domain
            and wanted.start <= one.at < wanted.end
            and wanted.email in ("", one.email)
            and wanted.message_id in ("", one.message_id)
            and wanted.type in ("", one.type)
        ]
        if wanted.message_id and not wanted.email:
            events.sort(key=_in_batch)
            behind = [one for one in events if start is None or _of_place(one.place) > _of_place(start)]
        else:
            events.sort(key=lambda one: one.place, reverse=True)
            behind = [one for one in events if start is None or one.place < start]
        return EventPage(behind[:take], behind[take - 1].place if len(behind) > take else None)

    async def export(self, wanted: EventFilter) -> AsyncIterator[Sequence[Event]]:
        """See `ports.StatisticsQueries`."""
        page = await self.events(wanted, None, len(self.told) + 1)
        if page.events:
            yield page.events

    async def batches(self, wanted: BatchFilter, after: int | None, take: int) -> BatchPage:
        """See `ports.StatisticsQueries`."""
        if self.away:
            raise LedgerUnavailable("away")
        found = [
            one
            for one in sorted(
                self.found.values(), key=lambda one: (one.accepted_at, one.number), reverse=True
            )
            if one.message_id.endswith(f"@{wanted.domain}")
            and wanted.start <= one.accepted_at < wanted.end
            and wanted.subject.lower() in one.subject.lower()
        ]
        first = next((n + 1 for n, one in enumerate(found) if one.number == after), 0)
        page = found[first : first + take]
        return BatchPage(page, page[-1].number if len(found) > first + take else None)

    def _all(self) -> Sequence[Event]:
        if self.away:
            raise LedgerUnavailable("away")
        return self.told

    def _asked(self, wanted: Question) -> list[tuple[Event, str]]:
        asked = []
        for event in self._all():
            hour, value = floor_of(event.at, Grain.HOUR), self._value(event, wanted.dimension)
            is_in = event.domain == wanted.domain and wanted.start <= hour < wanted.end
            is_named = not wanted.values and wanted.dimension is not Dimension.BATCH
            has_value = value or wanted.dimension is not Dimension.CATEGORY
            if is_in and has_value and (value in wanted.values or is_named):
                asked.append((event, value))
        return asked

    def _value(self, event: Event, dimension: Dimension) -> str:
        address_domain = event.email.rpartition("@")[2] if event.delivery else ""
        if dimension is Dimension.TEMPLATE:
            return self.found[event.batch].template_id
        if dimension is Dimension.RECIPIENT_DOMAIN:
            return address_domain
        if dimension is Dimension.CATEGORY:
            return str(event.data.get("category", event.data.get("reason", "")))
        if dimension is Dimension.PROVIDER:
            if "exchanger" in event.data:
                return provider_of(str(event.data["exchanger"]))
            same = (o for o in self.told if address_domain and o.email.endswith(f"@{address_domain}"))
            return next((provider_of(o.data["exchanger"]) for o in same if "exchanger" in o.data), "")
        return event.message_id if dimension is Dimension.BATCH else ""

    def _counts(self, event: Event) -> Counts:
        kind = _COUNTED.get(event.type, event.type)
        if event.machine:
            return Counts(**{f"machine_{kind}": 1})
        counts = {kind: 1}
        if event.id:
            who = (event.batch, event.delivery, event.email, event.type)
            same = (o for o in self.told if (o.batch, o.delivery, o.email, o.type) == who and not o.machine)
            counts[f"unique_{kind}"] = int(next(same) is event)
        if event.data.get("late"):
            counts["late_bounced"] = 1
        return Counts(**counts)


def _start(at: datetime, interval: Interval) -> datetime:
    if interval is Interval.HOUR:
        return at
    day = at.replace(hour=0, minute=0)
    return day if interval is Interval.DAY else day - timedelta(days=day.weekday())


def _in_batch(event: Event) -> tuple[object, ...]:
    return _of_place(event.place)


def _of_place(place: Place) -> tuple[int, str, int, datetime, str]:
    return (place.seq, place.type, place.attempt, place.at, place.id)


@dataclass
class FakeOutcomeLog:
    """Transactions of Events in the order of their commits."""

    commits: list[list[Event]] = field(default_factory=list)
    away: bool = False

    def commit(self, *events: Event) -> None:
        """One more transaction."""
        self.commits.append(sorted(events, key=lambda one: one.place))

    async def page(self, domain: str, after: LogPlace | None, take: int) -> LogPage:
        """See `ports.OutcomeLog`."""
        if self.away:
            raise LedgerUnavailable("away")
        if after and after.position > len(self.commits):
            raise CursorAhead("cursor: ahead")
        placed = [
            (LogPlace(position, event.place), event)
            for position, events in enumerate(self.commits, start=1)
            for event in events
            if event.domain == domain
        ]
        found = [(place, event) for place, event in placed if after is None or place > after][:take]
        return LogPage([event for _, event in found], found[-1][0] if found else after)

    async def end(self) -> LogPlace:
        """See `ports.OutcomeLog`."""
        return LogPlace(len(self.commits), Place(datetime.max.replace(tzinfo=UTC), 0, -1, "", -1, ""))
