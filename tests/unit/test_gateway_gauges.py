"""What the gateway tells of streams and ledger."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api_gateway.announcer import Announcer
from api_gateway.gauges import EVERY, Gauges
from api_gateway.stream_gauge import StreamGauge
from kannon.core.diagnosis import LedgerDiagnosis, Pile, StreamDiagnosis, StreamsDiagnosis
from kannon.core.errors import LedgerUnavailable
from kannon.telemetry import catalogue as c
from tests.fakes import FakePublisher
from tests.fakes_diagnosis import FakeStreamsLook
from tests.fakes_gateway import FakeIntake, FakeRoom

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Looked:
    """A ledger and streams that say what they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        self.ledger = LedgerDiagnosis(
            due=Pile(7, oldest_at=NOW - timedelta(seconds=90)),
            outbox=Pile(3),
            ticked_at=NOW - timedelta(seconds=2),
        )
        self.streams = FakeStreamsLook(
            StreamsDiagnosis(
                streams=(
                    StreamDiagnosis("KANNON_SEND", "send", messages=12, untaken=5, fullness=0.25),
                    StreamDiagnosis("KANNON_OUTCOMES"),
                ),
                dead_letters={"envelopes.ready": 2},
            )
        )
        self.ledger_is_away = False
        announcer = Announcer(FakeIntake(), FakePublisher(), StreamGauge(FakeRoom()))
        self.gauges = Gauges(_Ledger(self), self.streams, announcer, lambda: NOW, lambda: self.now)


class _Ledger:
    def __init__(self, looked: Looked) -> None:
        self._looked = looked

    async def look(self, now: datetime) -> LedgerDiagnosis:
        self._looked.looks += 1
        if self._looked.ledger_is_away:
            raise LedgerUnavailable("away")
        return self._looked.ledger


@pytest.fixture
def looked() -> Iterator[Looked]:
    yield Looked()
    for metric in c.CATALOGUE:
        metric.clear()


async def test_lag_and_age_are_told(looked: Looked) -> None:
    await looked.gauges.look()
    assert c.LEDGER.value("due") == 7
    assert c.LEDGER_OLDEST.value("due") == 90
    assert (c.OUTBOX.value(), c.TICK_AGE.value()) == (3, 2)
    assert c.STREAM_MESSAGES.value("send") == 12
    assert c.STREAM_UNTAKEN.value("send") == 5
    assert c.STREAM_FULLNESS.value("send") == 0.25
    assert c.DEAD_LETTERS.value("envelopes.ready") == 2
    assert len(list(c.STREAM_MESSAGES.series())) == 1, "streams of stages only"


async def test_who_asks_often_costs_one_look(looked: Looked) -> None:
    for _ in range(5):
        await looked.gauges.look()
    assert looked.looks == 1
    looked.now += EVERY
    await looked.gauges.look()
    assert looked.looks == 2


async def test_what_is_away_has_no_value_and_hides_nothing_else(looked: Looked) -> None:
    await looked.gauges.look()
    looked.now, looked.ledger_is_away = EVERY, True
    await looked.gauges.look()
    assert list(c.LEDGER.series()) == list(c.TICK_AGE.series()) == []
    assert c.STREAM_UNTAKEN.value("send") == 5
    looked.now, looked.ledger_is_away, looked.streams.away = 2 * EVERY, False, True
    await looked.gauges.look()
    assert list(c.STREAM_UNTAKEN.series()) == list(c.DEAD_LETTERS.series()) == []
    assert c.LEDGER.value("due") == 7


async def test_letters_that_are_gone_are_not_told_any_more(looked: Looked) -> None:
    await looked.gauges.look()
    looked.now, looked.streams.found = EVERY, replace(looked.streams.found, dead_letters={})
    await looked.gauges.look()
    assert list(c.DEAD_LETTERS.series()) == []


async def test_letters_of_requests_are_told_as_one_whatever_domains_their_senders_make_up(
    looked: Looked,
) -> None:
    letters = {"requests.a.example": 2, "requests.b.example": 3}
    looked.streams.found = replace(looked.streams.found, dead_letters=letters)
    await looked.gauges.look()
    assert [(labels, value) for _, labels, value in c.DEAD_LETTERS.series()] == [({"event": "requests"}, 5)]
