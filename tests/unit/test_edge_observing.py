"""What the edge tells of transmissions, and the traces of their results."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from edge_smtp import observing
from edge_smtp.attempts import AttemptId
from edge_smtp.carriers import Carried
from edge_smtp.observing import BatchTraces, transmitted
from edge_smtp.replies import Reply
from edge_smtp.results import ResultPublisher
from kannon.core.payloads import Delivered, Emitted, TransmissionsDelivered
from kannon.core.replies import Refusal, Stage
from kannon.telemetry import catalogue as c
from kannon.telemetry.metrics import Few
from kannon.telemetry.tracing import is_traceparent, new_traceparent, trace_id_of
from tests.fakes import FakePublisher
from tests.memory_journal import MemoryJournal

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ATTEMPT = AttemptId(7, 1, 1)


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    yield
    for metric in c.CATALOGUE:
        metric.clear()


@pytest.mark.parametrize(
    ("carried", "exchanger", "result"),
    [
        (Carried(Reply(250, (b"ok",)), "mx.example.org"), "mx.example.org", "delivered"),
        (Carried(Refusal(Stage.RCPT, 451, "", "later"), "mx.example.org"), "mx.example.org", "temporary"),
        (Carried(Refusal(Stage.DOT, 554, "", "no"), "mx.example.org"), "mx.example.org", "permanent"),
        (Carried(Refusal(Stage.CONNECT, 0, "", "timeout"), "mx.example.org"), "mx.example.org", "none"),
        (Carried(Refusal(Stage.DNS, 0, "4.4.3", "no answer"), ""), "none", "none"),
    ],
)
def test_transmissions_are_counted_by_exchanger_and_result(
    carried: Carried, exchanger: str, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c, "EXCHANGERS", Few(5))
    transmitted(ATTEMPT, carried, TRACE, 0.25)
    assert [tuple(labels.values()) for _, labels, _ in c.TRANSMISSIONS.series()] == [(exchanger, result)]
    assert c.TRANSMISSIONS.value(exchanger, result) == 1


def test_many_exchangers_are_no_many_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "EXCHANGERS", Few(5))
    for number in range(100):
        transmitted(ATTEMPT, Carried(Reply(250, (b"ok",)), f"mx{number}.example.org"), TRACE, 0.25)
    assert len(list(c.TRANSMISSIONS.series())) == 6
    assert c.TRANSMISSIONS.value("other", "delivered") == 95


def test_the_traces_of_batches_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "MOST_BATCHES", 3)
    traces = BatchTraces()
    traces.note([1, 2], TRACE)
    traces.note([1, 3, 4], "later")
    assert traces.of([1, 2, 3, 4, 5]) == ["later"] * 3


def results(*batches: int) -> TransmissionsDelivered:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    return TransmissionsDelivered(
        tuple(Delivered(Emitted(batch, 1, 1, 1), at, 250, "", "ok", "mx", 0) for batch in batches)
    )


class Forgetful(MemoryJournal):
    """A journal that is not asked what it published."""

    async def mark_published(self, emissions: Sequence[Emitted]) -> None:
        """Nothing: these results are of no submission."""


async def published(traces: BatchTraces, *batches: int) -> str:
    journal, publisher = Forgetful(), FakePublisher()
    await ResultPublisher(journal, publisher, traces)._publish(results(*batches))
    [trace] = publisher.traces
    return trace


async def test_results_of_one_trace_go_on_with_it() -> None:
    traces = BatchTraces()
    traces.note([1, 2], TRACE)
    assert await published(traces, 1, 2) == TRACE


async def test_results_that_mix_or_are_of_nobody_knows_which_begin_one() -> None:
    traces = BatchTraces()
    other = new_traceparent()
    traces.note([1], TRACE)
    traces.note([2], other)
    for batches in ((1, 2), (3,)):
        trace = await published(traces, *batches)
        assert is_traceparent(trace)
        assert trace_id_of(trace) not in (trace_id_of(TRACE), trace_id_of(other))
