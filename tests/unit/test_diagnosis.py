"""What needs a person and what does not, how the gateway asks for it, and how it is told."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from api_gateway.diagnosis import Diagnosis
from api_gateway.endpoints import Call
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.cli.doctor.report import sections, verdict
from kannon.cli.moments import span_text
from kannon.core.diagnosis import (
    MANY_UNPUBLISHED,
    AmbiguousDiagnosis,
    EdgeDiagnosis,
    ExchangerDiagnosis,
    LedgerDiagnosis,
    LostStream,
    Pile,
    StreamDiagnosis,
    StreamsDiagnosis,
    findings,
)
from tests.fakes_diagnosis import FakeEdgeLook, FakeStreamsLook
from tests.fakes_ledger import FakeLedger, FakeLedgerLook
from tests.mail import NOW, delivery

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LEDGER = LedgerDiagnosis(ticked_at=NOW - SECOND, in_hand_limit=20_000)
STREAMS = StreamsDiagnosis(streams=(StreamDiagnosis("KANNON_SEND", "send", pulling=4),))
EDGE = EdgeDiagnosis("edge-0", held=3, capacity=20_000, journal_born_at=NOW - MINUTE)


def found(
    ledger: LedgerDiagnosis = LEDGER,
    streams: StreamsDiagnosis = STREAMS,
    edges: tuple[EdgeDiagnosis, ...] = (EDGE,),
) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in findings(NOW, ledger, streams, edges)]


def stream(**changes: Any) -> StreamsDiagnosis:
    return replace(STREAMS, streams=(replace(STREAMS.streams[0], **changes),))


@pytest.mark.parametrize(
    "healthy",
    [
        {},
        {"ledger": replace(LEDGER, deferred=Pile(12_000, next_at=NOW), stranded=Pile(5, oldest_at=NOW))},
        {"ledger": replace(LEDGER, in_hand=Pile(20_000, oldest_at=NOW), outbox=Pile(7))},
        {"ledger": replace(LEDGER, lost=(LostStream("KANNON_SEND", NOW),))},
        {"streams": stream(messages=500, untaken=400, taken=4, pulling=0)},
        {"streams": StreamsDiagnosis(streams=(StreamDiagnosis("KANNON_OUTCOMES", fullness=1.0),))},
        {"edges": ()},
        {
            "edges": (
                replace(
                    EDGE,
                    suspended=(ExchangerDiagnosis("mx.test", 25, 9, NOW, 312, "refused"),),
                    suspended_total=1,
                    ambiguous_total=3,
                    unpublished=MANY_UNPUBLISHED - 1,
                ),
            )
        },
    ],
)
def test_what_goes_on_by_itself_needs_nobody(healthy: dict[str, Any]) -> None:
    assert found(**healthy) == []


@pytest.mark.parametrize(
    ("ill", "said"),
    [
        (
            {"ledger": LedgerDiagnosis("PostgreSQL does not answer")},
            "ledger: PostgreSQL cannot be asked: PostgreSQL does not answer",
        ),
        ({"ledger": replace(LEDGER, ticked_at=None)}, "tick: the tick does not run"),
        ({"ledger": replace(LEDGER, ticked_at=NOW - 4 * MINUTE)}, "tick: the tick does not run"),
        ({"ledger": replace(LEDGER, fruitless=Pile(2))}, "ledger: 2 handed on again and again"),
        ({"streams": StreamsDiagnosis("NATS is away")}, "streams: NATS cannot be asked: NATS is away"),
        ({"streams": stream(is_missing=True)}, "streams: KANNON_SEND is missing"),
        ({"streams": stream(fullness=0.93)}, "streams: KANNON_SEND is 93% full"),
        (
            {"streams": stream(untaken=1200, pulling=0)},
            "streams: 1,200 events in KANNON_SEND, and nobody takes them",
        ),
        (
            {"streams": stream(taken=3, again=2)},
            "streams: 2 events in KANNON_SEND tried again and again: send",
        ),
        (
            {"streams": replace(STREAMS, dead_letters={"batch.accepted": 1, "envelopes.ready": 1_199})},
            "dead letters: 1,200 dead letters",
        ),
        (
            {"edges": (EdgeDiagnosis("edge-0", "the edge edge-0 answers UNAVAILABLE"),)},
            "edge-0: the edge edge-0",
        ),
        ({"edges": (replace(EDGE, held=20_000),)}, "edge-0: the edge holds 20,000"),
        ({"edges": (replace(EDGE, unpublished=MANY_UNPUBLISHED),)}, "edge-0: 1,000 results wait"),
    ],
)
def test_what_does_not_is_found(ill: dict[str, Any], said: str) -> None:
    (finding,) = found(**ill)
    assert finding.startswith(said)


def test_results_that_wait_at_an_edge_while_nats_is_away_are_no_finding_of_their_own() -> None:
    edges = (replace(EDGE, unpublished=5 * MANY_UNPUBLISHED),)
    assert len(found(streams=StreamsDiagnosis("NATS is away"), edges=edges)) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (40.4, "40 s"),
        (89, "89 s"),
        (180, "3 min"),
        (5400, "2 h"),
        (86_400, "24 h"),
        (3 * 86_400, "3 days"),
    ],
)
def test_a_span(seconds: float, said: str) -> None:
    assert span_text(seconds) == said


def asked(
    ledger: FakeLedger | None = None,
    streams: FakeStreamsLook | None = None,
    edges: FakeEdgeLook | None = None,
) -> Diagnosis:
    return Diagnosis(
        FakeLedgerLook(ledger or FakeLedger()),
        streams or FakeStreamsLook(STREAMS),
        edges or FakeEdgeLook({"edge-0": EDGE}),
        lambda: NOW,
    )


async def test_the_answer_holds_all_that_was_found() -> None:
    ledger = FakeLedger(rows={row.id: row for row in map(delivery, range(3))})
    edge = replace(
        EDGE,
        suspended=(ExchangerDiagnosis("mx.test", 25, 9, NOW, 312, "<ada@example.org> refused"),),
        suspended_total=1,
        ambiguous=(AmbiguousDiagnosis("7.3", 2, 1, "mx.test"),),
        ambiguous_total=1,
    )
    streams = replace(STREAMS, dead_letters={"batch.accepted": 2}, oldest_letter_at=NOW)
    answer = await asked(ledger, FakeStreamsLook(streams), FakeEdgeLook({"edge-0": edge})).diagnose(
        pb.DiagnoseReq(), Call("", "")
    )
    assert answer == pb.DiagnoseRes(
        at=write_timestamp(NOW),
        findings=[
            pb.Finding(subject=one.subject, text=one.text)
            for one in findings(NOW, LedgerDiagnosis(in_hand_limit=20_000), streams, [edge])
        ],
        ledger=pb.LedgerDiagnosis(
            unannounced=pb.Pile(),
            unverified=pb.Pile(count=3),
            due=pb.Pile(),
            later=pb.Pile(),
            deferred=pb.Pile(),
            in_hand=pb.Pile(),
            in_hand_limit=20_000,
            stranded=pb.Pile(),
            fruitless=pb.Pile(),
            outbox=pb.Pile(),
        ),
        streams=pb.StreamsDiagnosis(
            streams=[pb.StreamDiagnosis(name="KANNON_SEND", stage="send", pulling=4)],
            dead_letters={"batch.accepted": 2},
            oldest_letter_at=write_timestamp(NOW),
        ),
        edges=[
            pb.EdgeDiagnosis(
                name="edge-0",
                journal_born_at=write_timestamp(NOW - MINUTE),
                held=3,
                capacity=20_000,
                suspended=[
                    pb.ExchangerDiagnosis(
                        host="mx.test",
                        port=25,
                        failures=9,
                        until=write_timestamp(NOW),
                        waiting=312,
                        reason="<a…@example.org> refused",
                    )
                ],
                suspended_total=1,
                ambiguous=[
                    pb.AmbiguousDiagnosis(delivery="7.3", attempt=2, ambiguities=1, exchanger="mx.test")
                ],
                ambiguous_total=1,
            )
        ],
    )


async def test_what_is_away_hides_nothing_of_the_rest() -> None:
    everything_away = asked(
        FakeLedger(away=True), FakeStreamsLook(away=True), FakeEdgeLook({"edge-0": None, "edge-1": EDGE})
    )
    answer = await everything_away.diagnose(pb.DiagnoseReq(), Call("", ""))
    assert (answer.ledger.error, answer.streams.error) == ("away", "streams: NATS is away")
    assert [edge.error for edge in answer.edges] == ["the edge edge-0 answers UNAVAILABLE", ""]
    assert [one.subject for one in answer.findings] == ["ledger", "streams", "edge-0"]


async def test_a_look_that_fails_hides_nothing_of_the_rest_either(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = FakeStreamsLook(STREAMS)

    async def fails() -> StreamsDiagnosis:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(streams, "look", fails)
    answer = await asked(streams=streams).diagnose(pb.DiagnoseReq(), Call("", ""))
    assert answer.streams.error == "asking failed; the gateway's log says why"
    assert answer.edges[0].held == 3


def told(answer: pb.DiagnoseRes) -> dict[str, list[str]]:
    return {section.title: list(section.lines) for section in sections(answer)}


def at(moment: timedelta) -> Any:
    return write_timestamp(NOW + moment)


def test_the_verdict_comes_first() -> None:
    assert verdict(pb.DiagnoseRes()).title == "nothing needs you"
    one = pb.DiagnoseRes(findings=[pb.Finding(subject="tick", text="it does not run")])
    assert verdict(one).title == "1 thing needs a look"
    assert verdict(one).lines == ("tick: it does not run",)
    assert verdict(pb.DiagnoseRes(findings=[pb.Finding(), pb.Finding()])).title == "2 things need a look"


def test_what_waits_is_told_with_what_happens_next_and_when() -> None:
    ledger = pb.LedgerDiagnosis(
        unannounced=pb.Pile(count=3, oldest_at=at(-4 * SECOND), next_at=at(26 * SECOND)),
        unannounced_recipients=120_000,
        unverified=pb.Pile(count=100_000, is_more=True, oldest_at=at(-3 * MINUTE), next_at=at(12 * MINUTE)),
        due=pb.Pile(count=312, oldest_at=at(-2 * SECOND)),
        later=pb.Pile(count=12_005, next_at=at(3 * MINUTE + 10 * SECOND)),
        deferred=pb.Pile(count=12_000, next_at=at(3 * MINUTE + 10 * SECOND)),
        in_hand=pb.Pile(count=200, oldest_at=at(-40 * SECOND), next_at=at(timedelta(days=1))),
        in_hand_limit=20_000,
        stranded=pb.Pile(count=5, oldest_at=at(-16 * MINUTE)),
        fruitless=pb.Pile(count=1, next_at=at(-MINUTE)),
        outbox=pb.Pile(count=17),
        ticked_at=at(-SECOND),
        lost=[pb.LostStream(name="KANNON_SEND", lost_at=at(-5 * MINUTE))],
    )
    assert told(pb.DiagnoseRes(at=at(timedelta()), ledger=ledger))["ledger"] == [
        "120,000 recipients unannounced, in 3 of the batches, the oldest for 4 s; "
        "announced while the verify stream has room, by the tick in 26 s (12:00:26 UTC) at the latest",
        "at least 100,000 without a verdict, the oldest for 3 min; announced anew in 12 min (12:12:00 UTC)",
        "312 due, the oldest for 2 s; handed on as results make room",
        "12,005 for later; next due in 3 min (12:03:10 UTC)",
        "12,000 of these deferred; next due in 3 min (12:03:10 UTC)",
        "200 of at most 20,000 in hand, the oldest for 40 s; "
        "if no result comes, taken back in 24 h (2026-03-02 12:00 UTC)",
        "5 of these stranded, the oldest for 16 min; taken back with the next look of the tick",
        "1 of these handed on for the last time; if no result comes, failed now",
        "17 of the outbox not published; that is tried with each look of the tick",
        "the tick looked 1 s ago",
        "KANNON_SEND lost what it held, as the tick noticed 5 min ago (11:55:00 UTC)",
    ]


def test_where_nothing_waits_little_is_told() -> None:
    assert told(pb.DiagnoseRes(at=at(timedelta()), ledger=pb.LedgerDiagnosis(ticked_at=at(-SECOND)))) == {
        "ledger": ["nothing waits", "the tick looked 1 s ago"],
        "streams": ["no event waits for a stage"],
        "edges": ["the gateway knows of none: edge.targets (K_EDGE_TARGETS)"],
    }


def test_streams_and_dead_letters_are_told() -> None:
    streams = pb.StreamsDiagnosis(
        streams=[
            pb.StreamDiagnosis(name="KANNON_VERIFY", stage="verify"),
            pb.StreamDiagnosis(
                name="KANNON_SEND",
                stage="send",
                messages=1040,
                bytes=12 * 1024**2,
                fullness=0.023,
                untaken=1030,
                taken=10,
                again=2,
            ),
            pb.StreamDiagnosis(name="KANNON_BOUNCE", stage="bounce", is_missing=True),
            pb.StreamDiagnosis(name="KANNON_OUTCOMES", messages=3, bytes=1024**2),
        ],
        dead_letters={"batch.accepted": 2, "envelopes.ready": 1},
        oldest_letter_at=at(-timedelta(days=2)),
    )
    assert told(pb.DiagnoseRes(at=at(timedelta()), streams=streams))["streams"] == [
        "KANNON_SEND holds 1,040 events, 12.0 MB, 2% full; 1,030 untaken, 10 taken, 2 of them again",
        "KANNON_BOUNCE is missing",
        "KANNON_OUTCOMES keeps 3 events, 1.0 MB, 0% full; the oldest give way after 72 h",
        "3 dead letters (2 batch.accepted, 1 envelopes.ready), the oldest for 2 days; kept for 30 days: "
        "`kannon dlq list`",
    ]


def test_edges_are_told_and_cannot_steer_a_terminal() -> None:
    edge = pb.EdgeDiagnosis(
        name="edge-0",
        held=313,
        capacity=20_000,
        transmitting=4,
        unpublished=2,
        suspended=[
            pb.ExchangerDiagnosis(
                host="mx.example.org",
                port=25,
                failures=7,
                until=at(40 * SECOND),
                waiting=312,
                reason="connection\nrefused\x1b[2J",
            )
        ],
        suspended_total=5,
        ambiguous=[pb.AmbiguousDiagnosis(delivery="7.3", attempt=2, exchanger="mx.example.net")],
        ambiguous_total=1,
    )
    away = pb.EdgeDiagnosis(name="edge-1", error="the edge edge-1 answers UNAVAILABLE")
    assert told(pb.DiagnoseRes(at=at(timedelta()), edges=[edge, away]))["edges"] == [
        "edge-0 holds 313 of at most 20,000, transmits 4; 2 results unpublished",
        "edge-0: exchanger mx.example.org:25 suspended, 312 wait, probed in 40 s (12:00:40 UTC): "
        "connection refused [2J",
        "edge-0: 4 other exchangers suspended, probed later",
        "edge-0: 1 ambiguous; sent once more where sender.max_ambiguous allows it, else failed",
        "edge-0: 7.3, attempt 2, may have arrived at mx.example.net",
        "edge-1: not known: the edge edge-1 answers UNAVAILABLE",
    ]


def test_what_cannot_be_asked_is_told() -> None:
    answer = pb.DiagnoseRes(
        at=at(timedelta()),
        ledger=pb.LedgerDiagnosis(error="PostgreSQL does not answer"),
        streams=pb.StreamsDiagnosis(error="NATS is away"),
    )
    assert told(answer)["ledger"] == ["not known: PostgreSQL does not answer"]
    assert told(answer)["streams"] == ["not known: NATS is away"]
