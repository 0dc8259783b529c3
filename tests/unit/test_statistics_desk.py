"""StatsApiV3: what is asked, checked; and what is answered, written out."""

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.endpoints import Call
from api_gateway.outcome_lines import COLUMNS, CsvLines, JsonLines
from api_gateway.refusals import NotFound
from api_gateway.statistics_desk import MAX_POINTS, TYPES, StatisticsDesk, write_event
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import stats_v3_pb2 as pb
from kannon.adapters.pb.tracking_pb2 import TRACKING_MODE_FULL
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import BadInput
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
    Place,
    Point,
    Question,
    Tally,
)
from kannon.core.tracking.policy import Mode

DOMAIN = "mail.example.com"
NAME = f"msg_abc@{DOMAIN}"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALL = Call("StatsApiV3", "")
COUNTS = Counts(
    accepted=12, delivered=8, bounced=3, late_bounced=1, opened=5, unique_opened=4, machine_opened=7
)
EVENT = Event(
    batch=7,
    delivery=DeliveryId(7, 3),
    message_id=NAME,
    domain=DOMAIN,
    email="ada@example.org",
    at=NOW,
    type="bounced",
    attempt=1,
    data={
        "code": 550,
        "enhanced": "5.1.1",
        "msg": "no such user",
        "exchanger": "mx",
        "category": "bad-mailbox",
    },
)
CLICK = replace(
    EVENT, type="clicked", attempt=0, data={"url": "https://a.example/", "ip": "::1"}, id="r1", mode=Mode.FULL
)


@dataclass
class Scripted:
    """Statistics that remember what was asked and answer what they were told."""

    asked: list[Any] = field(default_factory=list)
    events_at: Place | None = None

    async def breakdown(self, wanted: Question, take: int) -> Sequence[Tally]:
        self.asked.append((wanted, take))
        return [Tally("google", COUNTS), Tally("", Counts())]

    async def series(self, wanted: Question, interval: Interval, zone: ZoneInfo) -> Sequence[Point]:
        self.asked.append((wanted, interval, zone.key))
        return [Point(NOW.astimezone(zone), "", COUNTS)]

    async def latencies(self, wanted: Question, take: int) -> Mapping[str, Latencies]:
        self.asked.append((wanted, take))
        return {"": Latencies({8: 90, 20: 10}), "none": Latencies({})}

    async def timeline(self, domain: str, delivery: DeliveryId) -> Sequence[Event]:
        self.asked.append((domain, delivery))
        return [EVENT, CLICK]

    async def events(self, wanted: EventFilter, start: Place | None, take: int) -> EventPage:
        self.asked.append((wanted, start, take))
        return EventPage([EVENT], self.events_at)

    async def export(self, wanted: EventFilter) -> AsyncIterator[Sequence[Event]]:
        self.asked.append(wanted)
        yield [EVENT] * 600
        yield []
        yield [CLICK]

    async def batches(self, wanted: BatchFilter, after: int | None, take: int) -> BatchPage:
        self.asked.append((wanted, after, take))
        return BatchPage([BatchFound(7, NAME, "Hello", "t@d", 3, NOW)], 7)


class OneBatch:
    """Knows one Batch."""

    async def batch(self, domain: str, message_id: str) -> int | None:
        return 7 if (domain, message_id) == (DOMAIN, NAME) else None


@pytest.fixture
def statistics() -> Scripted:
    return Scripted()


@pytest.fixture
def desk(statistics: Scripted) -> StatisticsDesk:
    return StatisticsDesk(statistics, OneBatch(), lambda: NOW)  # type: ignore[arg-type]  # as much as is needed


async def test_counts_come_with_rates_and_without_those_of_nothing(
    desk: StatisticsDesk, statistics: Scripted
) -> None:
    found = await desk.get_counts(
        pb.GetCountsReq(domain="Mail.Example.com", dimension=pb.DIMENSION_PROVIDER, values=["google"]), CALL
    )
    [(wanted, take)] = statistics.asked
    assert (wanted.domain, wanted.dimension, wanted.values) == (DOMAIN, Dimension.PROVIDER, ("google",))
    assert (wanted.start, wanted.end, take) == (
        datetime(2020, 1, 1, tzinfo=UTC),
        NOW + timedelta(hours=1),
        100,
    )
    google, unknown = found.tallies
    assert (google.value, google.counts.delivered, google.counts.machine_opened) == ("google", 8, 7)
    assert google.rates.delivery == pytest.approx(0.7)
    assert google.rates.open == pytest.approx(0.5)
    assert google.rates.click_to_open == 0
    assert not unknown.rates.HasField("delivery")


async def test_a_series_is_of_a_zone(desk: StatisticsDesk, statistics: Scripted) -> None:
    request = pb.GetSeriesReq(domain=DOMAIN, interval=pb.INTERVAL_DAY, zone="Europe/Rome")
    found = await desk.get_series(request, CALL)
    assert statistics.asked[0][1:] == (Interval.DAY, "Europe/Rome")
    assert found.points[0].start == write_timestamp(NOW)


async def test_times_to_deliver_are_percentiles(desk: StatisticsDesk) -> None:
    found = await desk.get_latencies(pb.GetLatenciesReq(domain=DOMAIN, percentiles=[0.5, 1.0]), CALL)
    one, none = found.latencies
    assert one.delivered == 100
    assert [each.share for each in one.percentiles] == [0.5, 1.0]
    assert one.percentiles[0].seconds < 1 < one.percentiles[1].seconds
    assert not none.percentiles


async def test_the_timeline_of_a_mail_has_every_reply(desk: StatisticsDesk, statistics: Scripted) -> None:
    found = await desk.get_timeline(pb.GetTimelineReq(domain=DOMAIN, message_id=NAME, seq=3), CALL)
    assert statistics.asked == [(DOMAIN, DeliveryId(7, 3))]
    bounced, clicked = found.outcomes
    assert (bounced.code, bounced.enhanced, bounced.text) == (550, "5.1.1", "no such user")
    assert (clicked.url, clicked.delivery) == ("https://a.example/", "7.3")
    assert clicked.tracking_mode == TRACKING_MODE_FULL


@pytest.mark.parametrize("domain", ["other.example.com", DOMAIN])
async def test_the_mail_of_another_domain_is_not_there(domain: str, desk: StatisticsDesk) -> None:
    name = NAME if domain != DOMAIN else f"msg_xyz@{DOMAIN}"
    with pytest.raises(NotFound):
        await desk.get_timeline(pb.GetTimelineReq(domain=domain, message_id=name), CALL)


async def test_pages_follow_one_another(desk: StatisticsDesk, statistics: Scripted) -> None:
    statistics.events_at = EVENT.place
    request = pb.ListOutcomesReq(
        filter=pb.OutcomeFilter(domain=DOMAIN, email="Ada@Example.ORG", type="bounced")
    )
    first = await desk.list_outcomes(request, CALL)
    statistics.events_at = None
    second = await desk.list_outcomes(pb.ListOutcomesReq(filter=request.filter, after=first.next), CALL)
    assert [start for _, start, _ in statistics.asked] == [None, EVENT.place]
    assert statistics.asked[0][0].email == "Ada@example.org"
    assert second.next == ""


@given(after=st.text(min_size=1) | st.binary(min_size=1).map(lambda octets: octets.hex()))
async def test_a_made_up_place_is_refused_and_nothing_else(after: str) -> None:
    desk = StatisticsDesk(Scripted(), OneBatch(), lambda: NOW)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="after"):
        await desk.list_outcomes(
            pb.ListOutcomesReq(filter=pb.OutcomeFilter(domain=DOMAIN), after=after), CALL
        )


async def test_batches_are_found_by_subject(desk: StatisticsDesk, statistics: Scripted) -> None:
    found = await desk.list_batches(pb.ListBatchesReq(domain=DOMAIN, subject="hell", after=9), CALL)
    assert statistics.asked[0][0].subject == "hell"
    assert (found.batches[0].message_id, found.next) == (NAME, 7)


async def test_an_export_comes_in_pieces_of_whole_lines(desk: StatisticsDesk) -> None:
    request = pb.ExportOutcomesReq(format=pb.EXPORT_FORMAT_JSONL, filter=pb.OutcomeFilter(domain=DOMAIN))
    pieces = [piece.data async for piece in desk.export_outcomes(request, CALL)]
    assert len(pieces) > 2
    assert all(piece.endswith(b"\n") for piece in pieces)
    rows = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert len(rows) == 601
    assert tuple(rows[0]) == COLUMNS
    assert (rows[-1]["type"], rows[-1]["tracking_mode"]) == ("clicked", "full")


async def test_csv_holds_the_same_with_names(desk: StatisticsDesk) -> None:
    request = pb.ExportOutcomesReq(format=pb.EXPORT_FORMAT_CSV, filter=pb.OutcomeFilter(domain=DOMAIN))
    text = b"".join([piece.data async for piece in desk.export_outcomes(request, CALL)]).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (len(rows), rows[0]["text"], rows[0]["code"]) == (601, "no such user", "550")


@given(text=st.text())
def test_no_text_of_a_stranger_is_a_formula_or_another_line(text: str) -> None:
    event = replace(EVENT, data={"msg": text, "user_agent": text})
    [row] = csv.reader(io.StringIO(CsvLines().write([event]).decode(errors="surrogatepass"), newline=""))
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in row)
    assert row[COLUMNS.index("text")].removeprefix("'") == text.removeprefix("'")
    assert JsonLines().write([event]).count(b"\n") == 1


@pytest.mark.parametrize(
    ("procedure", "request_", "field"),
    [
        ("get_counts", pb.GetCountsReq(domain="no domain"), "domain"),
        ("get_counts", pb.GetCountsReq(domain=DOMAIN, dimension=77), "dimension"),  # type: ignore[arg-type]
        ("get_counts", pb.GetCountsReq(domain=DOMAIN, values=["a"]), "values"),
        ("get_counts", pb.GetCountsReq(domain=DOMAIN, dimension=pb.DIMENSION_BATCH), "values"),
        (
            "get_counts",
            pb.GetCountsReq(domain=DOMAIN, dimension=pb.DIMENSION_TEMPLATE, values=["\0"]),
            "values",
        ),
        ("get_counts", pb.GetCountsReq(domain=DOMAIN, take=1001), "take"),
        (
            "get_counts",
            pb.GetCountsReq(
                domain=DOMAIN,
                from_date=write_timestamp(NOW),
                to_date=write_timestamp(NOW - timedelta(seconds=1)),
            ),
            "from_date",
        ),
        ("get_series", pb.GetSeriesReq(domain=DOMAIN), "interval"),
        ("get_series", pb.GetSeriesReq(domain=DOMAIN, interval=pb.INTERVAL_HOUR), "from_date"),
        (
            "get_series",
            pb.GetSeriesReq(domain=DOMAIN, interval=pb.INTERVAL_DAY, zone="Europe/Atlantis"),
            "zone",
        ),
        (
            "get_series",
            pb.GetSeriesReq(domain=DOMAIN, interval=pb.INTERVAL_DAY, zone="../etc/passwd"),
            "zone",
        ),
        ("get_series", pb.GetSeriesReq(domain=DOMAIN, interval=pb.INTERVAL_DAY, zone="Europe"), "zone"),
        (
            "get_series",
            pb.GetSeriesReq(domain=DOMAIN, interval=pb.INTERVAL_DAY, dimension=pb.DIMENSION_PROVIDER),
            "values",
        ),
        ("get_latencies", pb.GetLatenciesReq(domain=DOMAIN, percentiles=[1.5]), "percentiles"),
        ("get_latencies", pb.GetLatenciesReq(domain=DOMAIN, percentiles=[float("nan")]), "percentiles"),
        ("get_latencies", pb.GetLatenciesReq(domain=DOMAIN, dimension=pb.DIMENSION_CATEGORY), "dimension"),
        ("get_timeline", pb.GetTimelineReq(domain=DOMAIN, message_id="\0"), "message_id"),
        (
            "list_outcomes",
            pb.ListOutcomesReq(filter=pb.OutcomeFilter(domain=DOMAIN, type="x")),
            "filter.type",
        ),
        (
            "list_outcomes",
            pb.ListOutcomesReq(filter=pb.OutcomeFilter(domain=DOMAIN, email="x")),
            "filter.email",
        ),
        ("list_batches", pb.ListBatchesReq(domain=DOMAIN, after=-1), "after"),
        ("list_batches", pb.ListBatchesReq(domain=DOMAIN, subject="\0"), "subject"),
    ],
)
async def test_bad_input_names_the_field(
    procedure: str, request_: Any, field: str, desk: StatisticsDesk, statistics: Scripted
) -> None:
    with pytest.raises(BadInput, match=rf"^{field}"):
        await getattr(desk, procedure)(request_, CALL)
    assert not statistics.asked


async def test_an_export_without_a_format_is_refused(desk: StatisticsDesk) -> None:
    with pytest.raises(BadInput, match="format"):
        await anext(desk.export_outcomes(pb.ExportOutcomesReq(filter=pb.OutcomeFilter(domain=DOMAIN)), CALL))


def test_every_type_of_outcome_can_be_asked_for() -> None:
    assert len(TYPES) == 9
    assert all(write_event(replace(EVENT, type=kind)).type == kind for kind in TYPES)
    assert MAX_POINTS > 366 * 24
