"""events: every Outcome of a chunk is taken by the sink before the chunk is done, whatever the sink does."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from functions.events.handler import PATIENCE, REMEMBERED, Events
from functions.events.main import sink_url
from kannon.core.answers import Answer, Fault
from kannon.core.errors import MalformedEvent, SinkRefuses, Unavailable
from kannon.core.payloads import DeliveriesDue, OutcomeFact, Outcomes
from kannon.runtime.binding import Binding
from kannon.runtime.settings import Settings, SettingsError

AT = datetime(2027, 3, 4, tzinfo=UTC)
Script = Callable[[str], Answer]


@dataclass
class FakeSink:
    """Takes events as `script` has it, by their subject."""

    script: Script = lambda _: Answer(202)
    asked: list[str] = field(default_factory=list)
    taken: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def post(self, attributes: Mapping[str, str], data: bytes) -> Answer:
        self.asked.append(attributes["ce-subject"])
        answer = self.script(attributes["ce-subject"])
        if answer.is_taken:
            self.taken.append((attributes, data))
        return answer


def chunk(size: int = 4, outcome: str = "delivered") -> Outcomes:
    facts = [OutcomeFact(f"7.{n}", "msg_x@d.example", "d.example", "a@b.c", 1, AT, {}) for n in range(size)]
    return Outcomes(outcome, 1, tuple(facts))


def only(subject: str, answer: Answer) -> Script:
    return lambda asked: answer if asked == subject else Answer(202)


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def events(sink: FakeSink) -> Events:
    return Events(sink, 3)


async def test_each_outcome_is_an_event_of_its_own_in_binary_mode(events: Events, sink: FakeSink) -> None:
    await events.handle(chunk(), "")
    assert sorted(headers["ce-subject"] for headers, _ in sink.taken) == ["7.0", "7.1", "7.2", "7.3"]
    headers, data = sink.taken[0]
    assert headers["content-type"] == "application/json"
    assert headers["ce-type"] == "email.kannon.delivery.delivered.v1"
    assert "ce-datacontenttype" not in headers
    assert json.loads(data)["delivery"] == headers["ce-subject"]


@pytest.mark.parametrize(
    "answer",
    [Answer(429, 7.0), Answer(503, 7.0), Answer(500, 7.0), Answer(404, 7.0), Answer(Fault.UNREACHED, 7.0)],
)
async def test_a_sink_that_is_away_or_busy_is_asked_again_when_it_says(
    events: Events, sink: FakeSink, answer: Answer
) -> None:
    sink.script = only("7.2", answer)
    with pytest.raises(Unavailable) as caught:
        await events.handle(chunk(), "")
    assert caught.value.retry_after == 7.0


async def test_of_a_chunk_that_comes_again_only_what_was_not_taken_is_posted(
    events: Events, sink: FakeSink
) -> None:
    sink.script = only("7.2", Answer(503))
    with pytest.raises(Unavailable):
        await events.handle(chunk(), "")
    sink.script = lambda _: Answer(200)
    sink.asked.clear()
    await events.handle(chunk(), "")
    assert sink.asked == ["7.2"]


async def test_a_chunk_that_was_done_is_forgotten_and_posted_anew_if_it_is_repeated(
    events: Events, sink: FakeSink
) -> None:
    for _ in range(2):
        await events.handle(chunk(), "")
    assert len(sink.taken) == 8
    assert len({headers["ce-id"] for headers, _ in sink.taken}) == 4


async def test_what_the_sink_refuses_for_good_is_said_once_all_others_were_taken(
    events: Events, sink: FakeSink
) -> None:
    answers = {"7.1": Answer(400, text="no"), "7.2": Answer(503)}
    sink.script = lambda subject: answers.get(subject, Answer(202))
    with pytest.raises(Unavailable):
        await events.handle(chunk(), "")
    del answers["7.2"]
    with pytest.raises(SinkRefuses, match=r"delivered.v1 [0-9a-f]{32}: status 400: no"):
        await events.handle(chunk(), "")
    assert len(sink.taken) == 3


async def test_a_slow_sink_gets_what_it_takes_in_time_and_the_rest_when_the_chunk_comes_again(
    sink: FakeSink,
) -> None:
    now = 0.0

    def slow(_subject: str) -> Answer:
        nonlocal now
        now += PATIENCE * 0.4
        return Answer(202)

    sink.script = slow
    events = Events(sink, 1, clock=lambda: now)
    with pytest.raises(Unavailable, match="it is slow"):
        await events.handle(chunk(5), "")
    assert len(sink.taken) == 3
    await events.handle(chunk(5), "")
    assert len(sink.taken) == 5


async def test_what_is_remembered_has_an_end(sink: FakeSink) -> None:
    events = Events(sink, 10)
    sink.script = only("7.0", Answer(503))
    with pytest.raises(Unavailable):
        await events.handle(chunk(REMEMBERED + 10), "")
    sink.asked.clear()
    with pytest.raises(Unavailable):
        await events.handle(chunk(REMEMBERED + 10), "")
    assert len(sink.asked) == 10


@pytest.mark.parametrize("payload", [DeliveriesDue(1, "x"), chunk(1, "of-another-age")])
async def test_what_is_no_outcome_is_not_taken(events: Events, payload: Outcomes) -> None:
    with pytest.raises(MalformedEvent):
        await events.handle(payload, "")


def url_of(sink: str = "", **given: str) -> str:
    return sink_url(Settings.load(given, {}), Binding(sink=sink))


def test_a_binding_says_where_events_go_and_else_a_setting() -> None:
    here = {"events.sink": "https://sink.example/"}
    assert url_of(**here) == "https://sink.example/"
    assert url_of("http://broker.example/kannon/default", **here) == "http://broker.example/kannon/default"


@pytest.mark.parametrize("sink", ["", "broker.example", "ftp://broker.example/", "http:///x"])
def test_without_a_place_to_go_it_does_not_start(sink: str) -> None:
    with pytest.raises(SettingsError, match=r"events.sink \(K_EVENTS_SINK\)"):
        url_of(sink)
