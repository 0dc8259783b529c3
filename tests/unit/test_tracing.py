"""The trace that work belongs to: taken over, begun, gone on with."""

import asyncio
import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.telemetry import tracing
from kannon.telemetry.tracing import (
    MOST_LINKS,
    Attributes,
    Kind,
    Span,
    current,
    follow,
    is_traceparent,
    new_traceparent,
    onward,
    record,
    step,
    trace_id_of,
)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LATER = "00-0af7651916cd43dd8448eb211c80319c-1111111111111111-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class KeptSpan(Span):
    """A span that remembers what it was told."""

    def __init__(self, name: str, traceparent: str, is_root: bool) -> None:
        super().__init__(traceparent)
        self.name, self.is_root = name, is_root
        self.links: list[str] = []
        self.ended: list[str] = []

    def link(self, traceparents: Iterable[str]) -> None:
        self.links += traceparents

    def end(self, error: str = "") -> None:
        self.ended.append(error)


class KeptSpans:
    """An exporter that keeps them; each span's id is its number."""

    def __init__(self) -> None:
        self.spans: list[KeptSpan] = []

    def start(
        self, name: str, parent: str, kind: Kind, attributes: Attributes, links: Iterable[str], is_root: bool
    ) -> Span:
        traceparent = f"00-{trace_id_of(parent)}-{len(self.spans) + 1:016x}-01"
        self.spans.append(KeptSpan(name, traceparent, is_root))
        return self.spans[-1]

    def record(
        self, name: str, parent: str, kind: Kind, attributes: Attributes, began_ns: int, error: str
    ) -> None:
        self.start(name, parent, kind, attributes, (), False).end(error)


@pytest.fixture
def exported() -> Iterator[KeptSpans]:
    kept = KeptSpans()
    tracing.install(kept)
    yield kept
    tracing.install(None)


@pytest.mark.parametrize("text", [TRACE, TRACE[:-1] + "0", "cc" + TRACE[2:], "cc" + TRACE[2:] + "-more"])
def test_a_valid_trace_is_taken_over(text: str) -> None:
    assert is_traceparent(text)
    with step("any", text, Kind.SERVER) as span:
        assert span.traceparent == current() == text
    assert current() == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACE.upper(),
        TRACE + "-more",
        TRACE + "\n",
        "ff" + TRACE[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "cc" + TRACE[2:] + "-" + "x" * 5000,
    ],
)
def test_anything_else_begins_a_new_one(text: str) -> None:
    assert not is_traceparent(text)
    with step("any", text, Kind.SERVER) as span:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", span.traceparent)
        assert span.traceparent != new_traceparent()


@given(st.text())
def test_a_trace_never_breaks_a_line(text: str) -> None:
    with step("any", text, Kind.SERVER) as span:
        assert not set("\r\n\0") & set(span.traceparent)


async def test_what_a_task_follows_is_its_own() -> None:
    async def work(traceparent: str) -> str:
        follow(traceparent)
        await asyncio.sleep(0)
        return current()

    assert tuple(await asyncio.gather(work(TRACE), work(OTHER))) == (TRACE, OTHER)


def test_an_exported_step_is_one_more_of_the_same_trace(exported: KeptSpans) -> None:
    with step("outer", TRACE, Kind.SERVER) as outer, step("inner", outer.traceparent, Kind.CLIENT) as inner:
        assert trace_id_of(inner.traceparent) == trace_id_of(TRACE)
        assert len({TRACE, outer.traceparent, inner.traceparent}) == 3
    assert [(span.name, span.is_root, span.ended) for span in exported.spans] == [
        ("outer", False, [""]),
        ("inner", False, [""]),
    ]


def test_a_step_that_fails_tells_its_kind_and_not_its_text(exported: KeptSpans) -> None:
    with pytest.raises(KeyError), step("any", TRACE, Kind.SERVER):
        raise KeyError("someone@example.org")
    assert exported.spans[0].ended == ["KeyError"]


def test_a_step_without_a_trace_is_the_root_of_one(exported: KeptSpans) -> None:
    with step("any", "", Kind.CONSUMER):
        pass
    assert exported.spans[0].is_root


def test_what_is_about_one_trace_goes_on_with_it() -> None:
    assert onward([TRACE, LATER]) == LATER
    assert onward([]) == ""
    assert onward([""]) == ""
    assert onward([TRACE, OTHER]) == "", "nobody knows which"


def test_it_follows_from_the_step_under_way_if_that_is_of_the_same_trace(exported: KeptSpans) -> None:
    with step("dispatch", TRACE, Kind.CONSUMER) as span:
        assert onward([TRACE, TRACE]) == span.traceparent
    assert exported.spans[0].links == []


def test_of_another_trace_it_stays_with_its_own_and_the_step_links_to_it(exported: KeptSpans) -> None:
    with step("claim", OTHER, Kind.CONSUMER):
        assert onward([TRACE]) == TRACE
    assert exported.spans[0].links == [TRACE]


def test_what_mixes_traces_stays_with_the_step_which_links_to_all(exported: KeptSpans) -> None:
    with step("claim", "", Kind.CONSUMER) as span:
        assert onward([TRACE, OTHER, ""]) == span.traceparent
    assert exported.spans[0].links == [TRACE, OTHER]


def test_a_step_has_a_bounded_number_of_links(exported: KeptSpans) -> None:
    with step("claim", "", Kind.CONSUMER):
        onward([new_traceparent() for _ in range(MOST_LINKS + 8)])
    assert len(exported.spans[0].links) == MOST_LINKS


def test_what_is_over_is_told_where_its_trace_is_known(exported: KeptSpans) -> None:
    record("smtp", TRACE, Kind.CLIENT, {}, 0.5, "rcpt")
    record("smtp", "", Kind.CLIENT, {}, 0.5)
    assert [(span.name, span.ended) for span in exported.spans] == [("smtp", ["rcpt"])]
