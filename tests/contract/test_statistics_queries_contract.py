"""What everything that answers from the statistics keeps to, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.intake import PostgresIntake
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.statistics_queries import PostgresStatisticsQueries
from kannon.adapters.postgres.statistics_upkeep import PostgresStatisticsUpkeep
from kannon.core.batches import Body, NewBatch, NewRecipient, Outcome
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import Act, Engagement
from kannon.core.statistics import (
    BatchFilter,
    BatchFound,
    Counts,
    Dimension,
    Event,
    EventFilter,
    Interval,
    Place,
    Point,
    Question,
    Tally,
)
from kannon.core.tracking.policy import Mode
from kannon.ports import StatisticsQueries
from tests.fakes_statistics import FakeStatisticsQueries
from tests.mail import DOMAIN

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
END = START + 400 * DAY
GOOGLE, LOCAL = "gmail-smtp-in.l.google.com", "mx.local.example"
UTC_ZONE = ZoneInfo("UTC")
RECIPIENTS = ("ada@gmail.com", "bea@gmail.com", "cem@local.example")


def taken(exchanger: str, **more: Any) -> dict[str, Any]:
    return {"code": 250, "enhanced": "2.0.0", "msg": "ok", "exchanger": exchanger} | more


@dataclass
class Subject:
    """Two Batches of three Deliveries, and a way to tell what became of them."""

    queries: StatisticsQueries
    batches: tuple[BatchFound, BatchFound]
    tell: Callable[[Sequence[Event]], Awaitable[None]]

    def event(self, kind: str, seq: int = 0, at: datetime = START, **changes: Any) -> Event:
        batch = self.batches[changes.pop("of", 0)]
        plain = Event(
            batch.number, DeliveryId(batch.number, seq), batch.message_id, DOMAIN, RECIPIENTS[seq], at, kind,
            1 if kind in ("delivered", "bounced", "error", "failed") else 0, {},
        )  # fmt: skip
        if kind in ("opened", "clicked"):
            plain = replace(plain, mode=Mode.IDENTIFIED, id=f"{kind}-{seq}-{at}")
        return replace(plain, **changes)

    async def tell_all(self) -> Counts:
        """A little of everything, in the first Batch; returns what that counts."""
        await self.tell(
            [
                *(self.event("accepted", seq) for seq in range(3)),
                self.event("error", 0, data=taken(GOOGLE, code=451, category="greylisted")),
                self.event("delivered", 0, attempt=2, at=START + HOUR, data=taken(GOOGLE)),
                self.event("delivered", 1, data=taken(GOOGLE)),
                self.event("bounced", 2, data=taken(LOCAL, code=550, category="bad-mailbox")),
                self.event("bounced", 1, at=START + DAY, data={"category": "mailbox-full", "late": True}),
                self.event("complained", 0, at=START + DAY, data={"category": "abuse"}),
            ]
        )
        await self.tell(
            [
                self.event("opened", 0, at=START + 2 * HOUR),
                self.event("opened", 0, at=START + 3 * HOUR),
                self.event("opened", 1, at=START + 3 * HOUR, machine="image-proxy"),
                self.event("clicked", 0, at=START + 3 * HOUR, data={"url": "https://example.com/"}),
            ]
        )
        return Counts(
            accepted=3, delivered=2, deferred=1, bounced=2, late_bounced=1, complained=1,
            opened=2, unique_opened=1, machine_opened=1, clicked=1, unique_clicked=1,
        )  # fmt: skip


def found(number: int, message_id: str, template: str, subject: str, accepted_at: datetime) -> BatchFound:
    return BatchFound(number, message_id, subject, f"{template}@{DOMAIN}", 3, accepted_at)


def fake_subject() -> Subject:
    queries = FakeStatisticsQueries()
    batches = (
        found(7, f"msg_a@{DOMAIN}", "welcome", "Hello Ada", START),
        found(8, f"msg_b@{DOMAIN}", "news", "Spring news", START + HOUR),
    )
    queries.found = {batch.number: batch for batch in batches}

    async def tell(events: Sequence[Event]) -> None:
        queries.told.extend(events)

    return Subject(queries, batches, tell)


async def postgres_subject(url: str, database: Database, state: str) -> Subject:
    ledger, upkeep = PostgresLedger(database), PostgresStatisticsUpkeep(database, 365 * DAY)

    async def accept(message_id: str, template: str, subject: str, at: datetime) -> BatchFound:
        new = NewBatch(
            f"{message_id}@{DOMAIN}", DOMAIN, f"hello@{DOMAIN}", "", subject, f"{template}@{DOMAIN}",
            Body("", ""), {}, at, at + DAY, "", tuple(NewRecipient(email, {}) for email in RECIPIENTS),
        )  # fmt: skip
        number = await PostgresIntake(database).accept(new)
        assert isinstance(number, int)
        async with database.statement() as connection:
            await connection.execute("UPDATE messages SET created_at = %s WHERE number = %s", (at, number))
        return found(number, new.message_id, template, subject, at)

    async def tell(events: Sequence[Event]) -> None:
        async with ledger.work() as work:
            outcomes = [
                Outcome(e.delivery, e.type, e.attempt, e.at, e.email, e.message_id, e.domain, e.data)
                for e in events
                if e.delivery and not e.id
            ]
            await work.record(outcomes)
            await work.record_engagements([engagement(e) for e in events if e.id], START)
        if state != "waiting":
            await upkeep.merge(1)
        if state == "summed up":
            await upkeep.sum_up(END)

    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO domains (name, dkim_private_key, dkim_public_key) VALUES (%s, '', '')", (DOMAIN,)
        )
    first = await accept("msg_a", "welcome", "Hello Ada", START)
    second = await accept("msg_b", "news", "Spring news", START + HOUR)
    queries = PostgresStatisticsQueries(database, batches_at_once=100, deliveries_at_once=2)
    return Subject(queries, (first, second), tell)


def engagement(event: Event) -> Engagement:
    assert event.mode is not None
    seq = event.delivery.seq if event.delivery else None
    return Engagement(
        event.id, Act(event.type), event.mode, DOMAIN, event.batch, event.at, seq,
        "" if event.delivery else event.email, event.machine, str(event.data.get("url", "")),
    )  # fmt: skip


@pytest.fixture(params=["in memory", "waiting", "merged", "summed up"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """In memory; in PostgreSQL with all counts still waiting; with all merged; and with days and months
    summed up, so that what is told next comes late."""
    in_memory = request.param == "in memory"
    return request.param, "" if in_memory else request.getfixturevalue("migrated_database")


@pytest.fixture
async def subject(place: tuple[str, str]) -> AsyncIterator[Subject]:
    name, url = place
    if not url:
        yield fake_subject()
        return
    database = Database(url)
    await database.open()
    yield await postgres_subject(url, database, name)
    await database.close()


def question(dimension: Dimension = Dimension.ALL, *values: str) -> Question:
    return Question(DOMAIN, START, END, dimension, values)


async def test_all_is_counted_once(subject: Subject) -> None:
    expected = await subject.tell_all()
    assert list(await subject.queries.breakdown(question(), 10)) == [Tally("", expected)]
    elsewhere = replace(question(), domain="example.net")
    assert list(await subject.queries.breakdown(elsewhere, 10)) == []


async def test_counts_by_each_dimension(subject: Subject) -> None:
    await subject.tell_all()
    await subject.tell([subject.event("delivered", seq, of=1, data=taken(LOCAL)) for seq in (2,)])
    ask = subject.queries.breakdown
    ended = {
        dimension: {
            tally.value: tally.counts.ended
            for tally in await ask(question(dimension), 10)
            if tally.value or tally.counts.ended  # accepted, and the provider is not learnt yet
        }
        for dimension in (Dimension.TEMPLATE, Dimension.RECIPIENT_DOMAIN, Dimension.PROVIDER)
    }
    assert ended == {
        Dimension.TEMPLATE: {f"welcome@{DOMAIN}": 3, f"news@{DOMAIN}": 1},
        Dimension.RECIPIENT_DOMAIN: {"gmail.com": 2, "local.example": 2},
        Dimension.PROVIDER: {"google": 2, "local.example": 2},
    }
    assert [tally.value for tally in await ask(question(Dimension.TEMPLATE), 1)] == [f"welcome@{DOMAIN}"]
    (named,) = await ask(question(Dimension.PROVIDER, "google"), 10)
    assert (named.counts.delivered, named.counts.deferred) == (2, 1)
    (named,) = await ask(question(Dimension.RECIPIENT_DOMAIN, "gmail.com"), 10)
    assert (named.counts.opened, named.counts.unique_opened, named.counts.machine_opened) == (2, 1, 1)


async def test_counts_by_category_are_of_what_has_one(subject: Subject) -> None:
    await subject.tell_all()
    tallies = await subject.queries.breakdown(question(Dimension.CATEGORY), 10)
    assert {tally.value: tally.counts for tally in tallies} == {
        "bad-mailbox": Counts(bounced=1),
        "mailbox-full": Counts(bounced=1, late_bounced=1),
        "greylisted": Counts(deferred=1),
        "abuse": Counts(complained=1),
    }


async def test_batches_are_counted_by_their_names(subject: Subject) -> None:
    expected = await subject.tell_all()
    first, second = subject.batches
    await subject.tell([subject.event("failed", of=1, data={"reason": "expired"})])
    named = question(Dimension.BATCH, first.message_id, second.message_id, f"msg_none@{DOMAIN}")
    assert list(await subject.queries.breakdown(named, 10)) == [
        Tally(first.message_id, expected),
        Tally(second.message_id, Counts(failed=1)),
    ]
    assert list(await subject.queries.breakdown(question(Dimension.BATCH), 10)) == []
    points = await subject.queries.series(named, Interval.DAY, UTC_ZONE)
    assert [(point.start, point.value) for point in points] == [
        (START, first.message_id),
        (START, second.message_id),
        (START + DAY, first.message_id),
    ]


async def test_a_range_is_made_of_the_hours_that_begin_in_it(subject: Subject) -> None:
    times = [START + minutes * timedelta(minutes=30) for minutes in range(8)]
    times += [START + 45 * DAY, START + 70 * DAY, START + 90 * DAY]
    await subject.tell([subject.event("error", at=at, data={"category": "busy"}) for at in times])
    ranges = [
        (START, START + HOUR, 2),
        (START + timedelta(minutes=1), START + 2 * HOUR, 2),
        (START, START + timedelta(minutes=30), 2),
        (START + HOUR, START + 80 * DAY, 8),
        (START + 2 * HOUR, START + 91 * DAY, 7),
        (START + HOUR, START, 0),
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), 11),
    ]
    for start, end, expected in ranges:
        tallies = await subject.queries.breakdown(Question(DOMAIN, start, end), 10)
        assert sum(tally.counts.deferred for tally in tallies) == expected, (start, end)


async def test_a_series_follows_the_zone(subject: Subject) -> None:
    times = [START - HOUR, START, START + 22 * HOUR, START + 23 * HOUR]
    await subject.tell([subject.event("error", at=at, data={"category": "busy"}) for at in times])
    wide = Question(DOMAIN, START - DAY, END)

    async def days(zone: str) -> list[tuple[str, int]]:
        points = await subject.queries.series(wide, Interval.DAY, ZoneInfo(zone))
        return [(point.start.isoformat(), point.counts.deferred) for point in points]

    assert await days("UTC") == [
        ("2026-02-28T00:00:00+00:00", 1),
        ("2026-03-01T00:00:00+00:00", 3),
    ]
    assert await days("Europe/Berlin") == [
        ("2026-03-01T00:00:00+01:00", 3),
        ("2026-03-02T00:00:00+01:00", 1),
    ]
    assert await days("America/New_York") == [
        ("2026-02-28T00:00:00-05:00", 2),
        ("2026-03-01T00:00:00-05:00", 2),
    ]


async def test_days_and_weeks_when_clocks_change(subject: Subject) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    monday = datetime(2026, 3, 23, tzinfo=berlin)
    hours = [monday.astimezone(UTC) + hour * HOUR for hour in range(7 * 24 - 1)]
    await subject.tell([subject.event("error", at=at, data={"category": "busy"}) for at in hours])
    wide = Question(DOMAIN, START, END)
    by_week = await subject.queries.series(wide, Interval.WEEK, berlin)
    assert by_week == [Point(monday, "", Counts(deferred=167))]
    by_day = await subject.queries.series(wide, Interval.DAY, berlin)
    assert [point.counts.deferred for point in by_day] == [24] * 6 + [23]


async def test_a_series_of_named_values(subject: Subject) -> None:
    await subject.tell_all()
    named = question(Dimension.RECIPIENT_DOMAIN, "gmail.com", "local.example")
    points = await subject.queries.series(named, Interval.HOUR, UTC_ZONE)
    assert [(point.start - START, point.value, point.counts.ended) for point in points][:3] == [
        (timedelta(), "gmail.com", 1),
        (timedelta(), "local.example", 1),
        (HOUR, "gmail.com", 1),
    ]


async def test_how_long_it_took(subject: Subject) -> None:
    seconds = (1, 60, 3600)
    times = [START + timedelta(seconds=second) for second in seconds]
    await subject.tell(
        [subject.event("delivered", seq, at=at, data=taken(GOOGLE)) for seq, at in enumerate(times)]
    )
    for wanted, name in (
        (question(), ""),
        (question(Dimension.PROVIDER, "google"), "google"),
        (question(Dimension.TEMPLATE), f"welcome@{DOMAIN}"),
        (question(Dimension.BATCH, subject.batches[0].message_id), subject.batches[0].message_id),
    ):
        found = await subject.queries.latencies(wanted, 10)
        assert list(found) == [name]
        assert found[name].total == 3
        for share, second in ((0.3, 1), (0.5, 60), (0.8, 3600)):
            percentile = found[name].percentile(share)
            assert percentile is not None
            assert abs(percentile.total_seconds() - second) < 0.2 * second
    assert await subject.queries.latencies(question(Dimension.PROVIDER, "yahoo"), 10) == {}


async def test_the_timeline_of_a_delivery_has_every_reply(subject: Subject) -> None:
    await subject.tell_all()
    delivery = DeliveryId(subject.batches[0].number, 0)
    events = await subject.queries.timeline(DOMAIN, delivery)
    kinds = ["accepted", "error", "delivered", "opened", "clicked", "opened", "complained"]
    assert [event.type for event in events] == kinds
    assert events[1].data == taken(GOOGLE, code=451, category="greylisted")
    assert (events[4].data, events[4].mode) == ({"url": "https://example.com/"}, Mode.IDENTIFIED)
    assert list(await subject.queries.timeline("example.net", delivery)) == []


async def pages(subject: Subject, wanted: EventFilter, take: int) -> list[Event]:
    seen: list[Event] = []
    start: Place | None = None
    while True:
        page = await subject.queries.events(wanted, start, take)
        assert len(page.events) <= take
        seen += page.events
        if page.next is None:
            return seen
        start = page.next


EVERYTHING = EventFilter(DOMAIN, START, END)


@pytest.mark.parametrize(
    ("narrower", "expected"),
    [
        ({}, 14),
        ({"type": "accepted"}, 3),
        ({"type": "opened"}, 4),
        ({"email": "ada@gmail.com"}, 7),
        ({"email": "ada@gmail.com", "type": "opened"}, 2),
        ({"email": "ada@gmail.com", "message_id": f"msg_b@{DOMAIN}"}, 0),
        ({"message_id": f"msg_a@{DOMAIN}"}, 13),
        ({"message_id": f"msg_b@{DOMAIN}"}, 1),
        ({"message_id": f"msg_a@{DOMAIN}", "type": "bounced"}, 2),
        ({"message_id": f"msg_none@{DOMAIN}"}, 0),
        ({"email": f"k3v9@track.{DOMAIN}"}, 1),
        ({"domain": "example.net"}, 0),
        ({"start": START + DAY}, 2),
        ({"end": START + HOUR}, 6),
    ],
)
async def test_events_are_looked_for_page_by_page(
    subject: Subject, narrower: dict[str, Any], expected: int
) -> None:
    await subject.tell_all()
    pseudonym = f"k3v9@track.{DOMAIN}"
    nobody: dict[str, Any] = {
        "delivery": None,
        "email": pseudonym,
        "mode": Mode.PSEUDONYMOUS,
        "at": START + 5 * HOUR,
    }
    await subject.tell([subject.event("opened", of=1, **nobody)])
    wanted = replace(EVERYTHING, **narrower)
    whole = await pages(subject, wanted, 100)
    assert len(whole) == expected
    for take in (1, 2, 5):
        assert await pages(subject, wanted, take) == whole
    if not wanted.message_id:
        assert whole == sorted(whole, key=lambda event: event.place, reverse=True)
    exported = [event async for page in subject.queries.export(wanted) for event in page]
    assert exported == whole


async def test_batches_are_looked_for_by_their_subjects(subject: Subject) -> None:
    first, second = subject.batches
    ask = subject.queries.batches
    everything = BatchFilter(DOMAIN, START, END)
    assert list((await ask(everything, None, 10)).batches) == [second, first]
    assert list((await ask(replace(everything, subject="spring N"), None, 10)).batches) == [second]
    assert list((await ask(replace(everything, subject="%"), None, 10)).batches) == []
    assert list((await ask(replace(everything, end=START + HOUR), None, 10)).batches) == [first]
    page = await ask(everything, None, 1)
    assert (list(page.batches), page.next) == ([second], second.number)
    page = await ask(everything, page.next, 1)
    assert (list(page.batches), page.next) == ([first], None)
    assert list((await ask(replace(everything, domain="example.net"), None, 10)).batches) == []


async def test_a_search_looks_at_no_more_batches_than_it_may(migrated_database: str) -> None:
    database = Database(migrated_database)
    await database.open()
    try:
        subject = await postgres_subject(migrated_database, database, "waiting")
        queries = PostgresStatisticsQueries(database, batches_at_once=1)
        wanted = BatchFilter(DOMAIN, START, END, subject="Hello")
        page = await queries.batches(wanted, None, 10)
        assert (list(page.batches), page.next) == ([], subject.batches[1].number)
        page = await queries.batches(wanted, page.next, 10)
        assert list(page.batches) == [subject.batches[0]]
    finally:
        await database.close()


async def test_away_is_said() -> None:
    for queries in (
        FakeStatisticsQueries(away=True),
        PostgresStatisticsQueries(Database("postgresql://127.0.0.1:1/none")),
    ):
        with pytest.raises(LedgerUnavailable):
            await queries.breakdown(question(), 1)
        with pytest.raises(LedgerUnavailable):
            await queries.events(EVERYTHING, None, 1)
