"""Spans as a collector gets them."""

import time
from collections.abc import Iterator

import pytest

from kannon.cli.standalone.listening import free_port
from kannon.runtime.otlp import OtlpExporter, exporter_to
from kannon.telemetry import tracing
from kannon.telemetry.tracing import Kind, new_traceparent, onward, record, step, trace_id_of
from tests.collector import SpanCollector

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def collector() -> Iterator[SpanCollector]:
    with SpanCollector() as running:
        yield running
    tracing.install(None)


def exporting(collector: SpanCollector, ratio: float = 1.0) -> OtlpExporter:
    exporter = exporter_to(collector.url, "edge", ratio)
    tracing.install(exporter)
    return exporter


def test_a_span_has_its_parent_its_service_and_its_links(collector: SpanCollector) -> None:
    exporter = exporting(collector)
    other = new_traceparent()
    with step("claim", SAMPLED, Kind.CONSUMER, {"messaging.batch.message_count": 7}) as span:
        onward([SAMPLED, other])
    exporter.close()
    [found] = collector.spans()
    assert (found.service, found.name, found.trace, found.parent) == ("kannon-edge", "claim", TRACE, SPAN)
    assert found.id == span.traceparent[36:52]
    assert found.links == (TRACE, trace_id_of(other))
    assert found.attributes == {"messaging.batch.message_count": 7}


def test_a_trace_that_begins_here_has_a_root(collector: SpanCollector) -> None:
    exporter = exporting(collector)
    given = new_traceparent()
    with (
        step("call", given, Kind.SERVER, is_root=True) as call,
        step("inner", call.traceparent, Kind.CLIENT),
    ):
        pass
    exporter.close()
    by_name = {span.name: span for span in collector.spans(trace_id_of(given))}
    assert by_name["call"].parent == ""
    assert by_name["inner"].parent == by_name["call"].id


def test_what_is_over_is_told_with_its_time_and_error(collector: SpanCollector) -> None:
    exporter = exporting(collector)
    record("smtp transmit", SAMPLED, Kind.CLIENT, {"kannon.delivery": "7.1"}, 2.0, "rcpt")
    exporter.close()
    [found] = collector.spans()
    assert (found.parent, found.error, found.attributes) == (SPAN, "rcpt", {"kannon.delivery": "7.1"})
    assert 1.9 < found.seconds < 10


def test_what_a_caller_does_not_sample_is_not_sent_and_goes_on_so(collector: SpanCollector) -> None:
    exporter = exporting(collector)
    with step("call", UNSAMPLED, Kind.SERVER) as span:
        assert span.traceparent.endswith("-00")
        record("smtp transmit", span.traceparent, Kind.CLIENT, {}, 1.0)
    exporter.close()
    assert collector.spans() == []


@pytest.mark.parametrize(("given", "sent"), [("", 0), (SAMPLED, 1)])
def test_of_traces_that_begin_here_a_part_is_sampled_and_all_that_callers_sample(
    collector: SpanCollector, given: str, sent: int
) -> None:
    exporter = exporting(collector, ratio=0.0)
    with step("call", given, Kind.SERVER):
        pass
    exporter.close()
    assert len(collector.spans()) == sent


def test_a_collector_that_is_away_is_in_nobodys_way() -> None:
    exporter = exporter_to(f"http://127.0.0.1:{free_port()}", "edge", 1.0)
    tracing.install(exporter)
    try:
        began = time.monotonic()
        with step("call", SAMPLED, Kind.SERVER):
            pass
        assert time.monotonic() - began < 1
        exporter.close()
        assert time.monotonic() - began < 15
    finally:
        tracing.install(None)
