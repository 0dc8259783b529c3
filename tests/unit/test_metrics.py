"""What is counted, and how Prometheus reads it."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kannon.cli.standalone.listening import free_port
from kannon.core.errors import EventsUnavailable
from kannon.runtime.metrics import metrics, serve_metrics
from kannon.telemetry.catalogue import CATALOGUE, MEMORY, STREAM_UNTAKEN
from kannon.telemetry.metrics import OTHER, Counter, Few, Gauge, Histogram, exposition
from tests.scraping import scraped

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    yield
    for metric in CATALOGUE:
        metric.clear()


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False, min_value=0))
def test_whatever_a_label_holds_is_read_back(value: str, amount: float) -> None:
    counter = Counter("a_total", "Any.", ("name",))
    counter.add(amount, value)
    ((_, labels), read), *rest = samples(exposition([counter])).items()
    assert rest == []
    assert (dict(labels)["name"], read) == (value, amount)


def test_buckets_count_what_is_not_larger() -> None:
    histogram = Histogram("seconds", "Any.", ("stage",), (0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds, "verify")
    found = samples(exposition([histogram]))
    buckets = {
        dict(labels)["le"]: value for (name, labels), value in found.items() if name == "seconds_bucket"
    }
    assert buckets == {"0.1": 2, "1": 3, "+Inf": 4}
    assert found["seconds_count", (("stage", "verify"),)] == 4
    assert math.isclose(found["seconds_sum", (("stage", "verify"),)], 7.65)


def test_what_was_never_counted_is_not_told() -> None:
    assert exposition([Counter("a_total", "Any."), Gauge("b", "Any."), Histogram("c", "Any.")]) == b""


def test_names_from_outside_are_bounded() -> None:
    few = Few(2)
    assert [few.of(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_names_are_as_prometheus_wants_them() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    for metric in CATALOGUE:
        assert re.fullmatch(r"(kannon|process)_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name
        assert metric.help.endswith(".")
        assert all(re.fullmatch(r"[a-z_]+", label) for label in metric.labels)
        assert not {"le", "address", "recipient", "subject", "domain"} & set(metric.labels)


def test_the_document_has_each_metric_as_it_is() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+ \| [^|]+) \|", DOCS.read_text(), re.MULTILINE))
    assert rows == {
        metric.name: f"{metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or '–'}"
        for metric in CATALOGUE
    }


async def test_they_are_served_on_a_port_of_their_own() -> None:
    async def look() -> None:
        STREAM_UNTAKEN.set(7, "verify")

    port = free_port()
    async with serve_metrics("127.0.0.1", port, look):
        status, body = await scraped(port)
        assert (status, samples(body)["kannon_stream_untaken", (("stage", "verify"),)]) == (200, 7)
        assert samples(body)["process_resident_memory_bytes", ()] == MEMORY.value() > 1_000_000
        assert await scraped(port, "/") == (404, b"")
        assert await scraped(port, "/metrics", "POST") == (405, b"")
        assert await scraped(port, "/metrics", "HEAD") == (200, b"")


async def test_what_cannot_be_looked_at_hides_nothing_else() -> None:
    async def away() -> None:
        raise EventsUnavailable("away")

    async def broken() -> None:
        raise KeyError("ours")

    for look in (away, broken):
        assert b"process_start_time_seconds" in await metrics(look)
