"""The transmitter and the publisher of results, with a carrier and a journal that keep nothing."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

import edge_smtp.transmitter
from edge_smtp.attempts import AttemptId, State
from edge_smtp.carriers import Carried, DemoCarrier, destination_of, most_telling
from edge_smtp.health import Patience
from edge_smtp.session import Unconfirmed
from edge_smtp.transmitter import Limits, Transmitter
from kannon.core.envelopes import Envelope
from kannon.core.errors import Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain
from kannon.core.payloads import Delivered, Refused, TransmissionsDelivered, TransmissionsRefused
from kannon.core.replies import Refusal, Stage
from tests.edge_samples import FAR_MS, an_envelope
from tests.memory_journal import MemoryJournal
from tests.scripted_carrier import NOW_MS, OK, Bench

Eventually = Callable[..., Awaitable[object]]
GREY = Carried(Refusal(Stage.RCPT, 450, "4.7.1", "greylisted"), "mx.test")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(Limits(max_jobs=4, max_per_exchanger=2))
    yield made
    await made.transmitter.stop(1)


async def test_delivers_and_refuses(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.script["bob@two.test"] = [GREY]
    await bench.submit(an_envelope(1), an_envelope(2, recipient="bob@two.test"))
    await eventually(lambda: not bench.unfinished())
    facts = await bench.facts()
    assert isinstance(facts[1], Delivered)
    assert (facts[1].code, facts[1].enhanced, facts[1].exchanger) == (250, "2.0.0", "mx.test")
    assert isinstance(facts[2], Refused)
    assert (facts[2].stage, facts[2].code, facts[2].text) == (Stage.RCPT, 450, "greylisted")
    assert facts[1].at.timestamp() * 1000 == NOW_MS


@pytest.mark.parametrize(
    ("error", "enhanced", "text"),
    [
        (UndeliverableDomain("null_mx", "5.1.10"), "5.1.10", "null_mx"),
        (Unavailable("no answer"), "4.4.3", "no answer"),
        (RuntimeError("bug"), "4.3.5", "internal error"),
    ],
)
async def test_a_domain_without_exchangers(
    bench: Bench, eventually: Eventually, error: Exception, enhanced: str, text: str
) -> None:
    bench.carrier.domains["example.test"] = error
    await bench.submit(an_envelope())
    await eventually(lambda: not bench.unfinished())
    fact = (await bench.facts())[1]
    assert isinstance(fact, Refused)
    assert (fact.stage, fact.code, fact.enhanced, fact.text) == (Stage.DNS, 0, enhanced, text)


async def test_an_address_that_is_none(bench: Bench) -> None:
    await bench.submit(an_envelope(recipient="bob@nowhere"))
    fact = (await bench.facts())[1]
    assert isinstance(fact, Refused)
    assert (fact.stage, fact.enhanced) == (Stage.RCPT, "5.1.3")


async def test_no_dot_after_the_expiry(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.gate.clear()
    await bench.submit(an_envelope(1, expires_at_ms=NOW_MS - 1), an_envelope(2, expires_at_ms=NOW_MS + 5))
    await eventually(lambda: bench.carrier.busy == 1)
    bench.now_ms += 10
    bench.carrier.gate.set()
    await eventually(lambda: not bench.unfinished())
    facts = await bench.facts()
    assert [fact.stage for fact in facts.values() if isinstance(fact, Refused)] == [Stage.EXPIRED] * 2
    assert not bench.carrier.dots


async def test_silence_after_the_dot_is_transmitted_once_more(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.script["bob@example.test"] = [Unconfirmed("gone"), OK]
    await bench.submit(an_envelope())
    await eventually(lambda: not bench.unfinished())
    fact = (await bench.facts())[1]
    assert isinstance(fact, Delivered)
    assert (fact.ambiguities, bench.carrier.dots["bob@example.test"]) == (1, 2)


async def test_silence_twice_is_unconfirmed(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.script["bob@example.test"] = [Unconfirmed("gone")] * 5
    await bench.submit(an_envelope())
    await eventually(lambda: not bench.unfinished())
    fact = (await bench.facts())[1]
    assert isinstance(fact, Refused)
    assert (fact.stage, fact.ambiguities, fact.text) == (Stage.UNCONFIRMED, 2, "gone")
    assert bench.carrier.dots["bob@example.test"] == 2


async def test_ambiguities_are_never_more_over_all_attempts(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.script["bob@example.test"] = [Unconfirmed("gone"), GREY, Unconfirmed("gone"), OK]
    await bench.submit(an_envelope(attempt=1))
    await eventually(lambda: not bench.unfinished())
    await bench.facts()
    await bench.submit(an_envelope(attempt=2))
    await eventually(lambda: not bench.unfinished())
    fact = (await bench.facts())[1]
    assert isinstance(fact, Refused)
    assert (fact.emitted.attempt, fact.stage) == (2, Stage.UNCONFIRMED)
    assert bench.carrier.dots["bob@example.test"] == 2


async def test_none_allowed_means_none_sent_twice(eventually: Eventually) -> None:
    journal = MemoryJournal(born_at_ms=NOW_MS)
    bench = Bench(Limits(max_ambiguous=0), journal)
    await bench.submit(an_envelope(emission=2, first_emitted_at_ms=NOW_MS - 1))
    await eventually(lambda: not bench.unfinished())
    fact = (await bench.facts())[1]
    assert isinstance(fact, Refused)
    assert fact.stage is Stage.UNCONFIRMED
    assert not bench.carrier.dots
    await bench.transmitter.stop(1)


async def test_limits_hold(eventually: Eventually) -> None:
    bench = Bench(Limits(max_jobs=3, max_per_exchanger=2))
    bench.carrier.gate.clear()
    await bench.submit(*(an_envelope(n, recipient=f"r{n}@d{n % 5}.test") for n in range(40)))
    await eventually(lambda: bench.carrier.busy == 2)
    bench.carrier.gate.set()
    await eventually(lambda: not bench.unfinished())
    assert bench.carrier.busiest <= 3
    assert sum(bench.carrier.dots.values()) == 40
    await bench.transmitter.stop(1)


async def test_memory_is_bounded_and_the_journal_has_the_rest(
    bench: Bench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_smtp.transmitter, "MEMORY", 1000)
    await bench.submit(*(an_envelope(n, recipient=f"r{n}@example.test") for n in range(20)))
    await eventually(lambda: not bench.unfinished())
    assert len(bench.carrier.dots) == 20
    await bench.submit(an_envelope(99))
    await eventually(lambda: not bench.unfinished())


async def test_what_is_not_in_hand_any_more_is_not_sent(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.gate.clear()
    await bench.submit(an_envelope(attempt=1))
    await eventually(lambda: bench.carrier.busy == 1)
    await bench.submit(an_envelope(attempt=2))
    bench.carrier.gate.set()
    await eventually(lambda: not bench.unfinished())
    assert bench.carrier.dots["bob@example.test"] == 1
    assert (await bench.facts())[1].emitted.attempt == 2


async def test_a_broken_journal_stops_the_dot_not_the_mail(
    bench: Bench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_smtp.transmitter, "PAUSE", 0.01)
    bench.carrier.gate.clear()
    await bench.submit(an_envelope())
    await eventually(lambda: bench.carrier.busy == 1)
    bench.journal.broken = True
    bench.carrier.gate.set()
    await eventually(lambda: bench.carrier.busy == 0)
    assert not bench.carrier.dots
    bench.journal.broken = False
    await eventually(lambda: not bench.unfinished())
    assert bench.carrier.dots["bob@example.test"] == 1


async def test_an_error_of_our_own_is_a_temporary_failure(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.script["bob@example.test"] = [RuntimeError("bug")]
    await bench.submit(an_envelope())
    await eventually(lambda: not bench.unfinished())
    fact = (await bench.facts())[1]
    assert isinstance(fact, Refused)
    assert (fact.code, fact.text) == (0, "internal error")


async def test_goes_on_after_a_restart(eventually: Eventually) -> None:
    journal = MemoryJournal()
    await journal.take([an_envelope(n, recipient=f"r{n}@example.test") for n in range(4)])
    await journal.intend(AttemptId(7, 1, 1), 0, "example.test")
    await journal.intend(AttemptId(7, 2, 1), 1, "example.test")
    bench = Bench(Limits(), journal)
    assert await bench.transmitter.resume() == 4
    await eventually(lambda: not bench.unfinished())
    facts = await bench.facts()
    assert [facts[seq].ambiguities for seq in range(4)] == [0, 1, 2, 0]
    assert isinstance(facts[2], Refused)
    assert facts[2].stage is Stage.UNCONFIRMED
    assert set(bench.carrier.dots) == {f"r{n}@example.test" for n in (0, 1, 3)}
    await bench.transmitter.stop(1)


async def test_stopping_finishes_what_is_under_way_and_leaves_the_rest(
    bench: Bench, eventually: Eventually
) -> None:
    bench.carrier.gate.clear()
    await bench.submit(*(an_envelope(n) for n in range(6)))
    await eventually(lambda: bench.carrier.busy == 2)
    stopping = asyncio.create_task(bench.transmitter.stop(5))
    await asyncio.sleep(0)
    bench.carrier.gate.set()
    await stopping
    assert bench.carrier.dots["bob@example.test"] == 2
    assert bench.unfinished() == 4
    assert bench.carrier.closed


async def test_stopping_cuts_off_what_takes_too_long(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.gate.clear()
    await bench.submit(an_envelope())
    await eventually(lambda: bench.carrier.busy == 1)
    await bench.transmitter.stop(0.01)
    assert (bench.carrier.busy, bench.unfinished()) == (0, 1)


async def test_results_wait_for_nats(
    bench: Bench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_smtp.results.FIRST_PAUSE", 0.01)
    running = asyncio.create_task(bench.results.run())
    bench.publisher.away = True
    await bench.submit(*(an_envelope(n) for n in range(250)))
    await eventually(lambda: not bench.unfinished())
    bench.publisher.away = False
    states = bench.journal.rows
    await eventually(lambda: all(row.standing.state is State.PUBLISHED for row in states.values()))
    sizes = [len(p.transmissions) for p in bench.publisher.payloads if isinstance(p, TransmissionsDelivered)]
    assert (sum(sizes), max(sizes)) == (250, 100)
    running.cancel()


async def test_one_chunk_that_fails_does_not_hold_up_the_others(bench: Bench, eventually: Eventually) -> None:
    bench.carrier.script["grey@example.test"] = [GREY]
    await bench.submit(an_envelope(1), an_envelope(2, recipient="grey@example.test"))
    await eventually(lambda: not bench.unfinished())
    publish = bench.publisher.publish

    async def only_deliveries(payload: object, traceparent: str = "") -> int:
        if isinstance(payload, TransmissionsRefused):
            raise Unavailable("full")
        return await publish(payload, traceparent)  # type: ignore[arg-type]

    bench.publisher.publish = only_deliveries  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await bench.results.drain()
    assert [fact.emitted.seq for fact in await bench.journal.unpublished(10)] == [2]


async def test_the_demo_sender(eventually: Eventually) -> None:
    bench = Bench(Limits())
    bench.transmitter = Transmitter(bench.journal, DemoCarrier(), Limits(), lambda: NOW_MS)
    await bench.submit(an_envelope(1), an_envelope(2, recipient="an-error@example.test"))
    await eventually(lambda: not bench.unfinished())
    facts = await bench.facts()
    assert (type(facts[1]), facts[1].code) == (Delivered, 250)
    refused = facts[2]
    assert isinstance(refused, Refused)
    assert (refused.stage, refused.code) == (Stage.RCPT, 512)
    await bench.transmitter.stop(1)


FAST = Patience(failures=3, first=10.0, longest=60.0)


@pytest.fixture
async def patient() -> AsyncIterator[Bench]:
    """One that suspends after three failures, by the bench's own clock."""
    made = Bench(Limits(max_jobs=4, max_per_exchanger=2, patience=FAST))
    yield made
    await made.transmitter.stop(1)


def some(domain: str, first: int, count: int, expires_at_ms: int = FAR_MS) -> list[Envelope]:
    return [
        an_envelope(n, recipient=f"r{n}@{domain}", expires_at_ms=expires_at_ms)
        for n in range(first, first + count)
    ]


async def test_a_suspended_exchanger_costs_no_attempts_and_gets_all_when_it_is_back(
    patient: Bench, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    carrier = patient.carrier
    carrier.broken.add("dead.test")
    await patient.submit(*some("dead.test", 0, 100))
    await eventually(patient.transmitter.suspended)
    await eventually(lambda: not patient.transmitter.transmitting)
    tried = carrier.tried["dead.test"]
    assert tried <= 5
    await patient.submit(*some("dead.test", 100, 200), *some("well.test", 1000, 100))
    await eventually(lambda: carrier.tried["well.test"] == 100)
    patient.look(7)
    assert carrier.tried["dead.test"] == tried
    (one,) = patient.transmitter.suspended()
    assert (one.exchanger.host, one.waiting, one.failures) == ("dead.test", 300 - tried, tried)
    patient.look(4)  # a probe, that fails
    await eventually(lambda: carrier.tried["dead.test"] == tried + 1)
    await eventually(lambda: not patient.transmitter.transmitting)
    carrier.broken.clear()
    patient.look(20)
    await eventually(lambda: not patient.unfinished())
    facts = await patient.facts()
    refused = [fact for fact in facts.values() if isinstance(fact, Refused)]
    assert len(refused) == tried + 1
    assert sum(carrier.dots.values()) == 400 - len(refused)
    assert set(carrier.dots.values()) == {1}
    messages = [record.message for record in caplog.records]
    assert messages.count("exchanger suspended") == 2
    assert messages.count("exchanger is back") == 1
    assert "@" not in caplog.text


async def test_what_waits_for_a_suspended_exchanger_expires_without_a_slot(
    patient: Bench, eventually: Eventually
) -> None:
    patient.carrier.broken.add("dead.test")
    await patient.submit(*some("dead.test", 0, 20, expires_at_ms=NOW_MS + 5000))
    await eventually(patient.transmitter.suspended)
    await eventually(lambda: not patient.transmitter.transmitting)
    tried = patient.carrier.tried["dead.test"]
    patient.look(6)
    assert not patient.unfinished()
    stages = Counter(fact.stage for fact in (await patient.facts()).values() if isinstance(fact, Refused))
    assert stages == {Stage.CONNECT: tried, Stage.EXPIRED: 20 - tried}


async def test_of_several_exchangers_only_the_healthy_are_tried(
    patient: Bench, eventually: Eventually
) -> None:
    patient.carrier.broken.add("mx1.test")
    patient.carrier.domains["x.test"] = (Exchanger(0, "mx1.test"), Exchanger(1, "mx2.test"))
    await patient.submit(*some("x.test", 0, 50))
    await eventually(lambda: not patient.unfinished())
    assert sum(patient.carrier.dots.values()) == 50
    assert patient.carrier.tried["mx1.test"] <= 4


async def test_an_attempt_bound_to_an_exchanger_waits_for_it_and_goes_nowhere_else(
    patient: Bench, eventually: Eventually
) -> None:
    carrier = patient.carrier
    carrier.domains["x.test"] = (Exchanger(0, "mx1.test"), Exchanger(1, "mx2.test"))
    envelopes = some("x.test", 0, 3)
    for envelope in envelopes:
        carrier.script[envelope.recipient] = [Unconfirmed("gone")]
    await patient.submit(*envelopes)
    await eventually(patient.transmitter.suspended)
    await eventually(lambda: not patient.transmitter.transmitting)
    assert [it.bound_to for it in patient.transmitter.ambiguous()] == ["mx1.test"] * 3
    await patient.submit(*some("x.test", 10, 5))
    await eventually(lambda: carrier.tried["mx2.test"] == 5)
    assert carrier.tried["mx1.test"] == 3
    patient.look(11)
    await eventually(lambda: not patient.unfinished())
    facts = await patient.facts()
    assert [facts[n].exchanger for n in range(3)] == ["mx.test"] * 3
    assert (carrier.tried["mx1.test"], carrier.tried["mx2.test"]) == (6, 5)
    assert [facts[n].ambiguities for n in range(3)] == [1, 1, 1]


async def test_one_that_resets_at_every_dot_gets_each_mail_twice_and_no_more(
    patient: Bench, eventually: Eventually
) -> None:
    envelopes = some("x.test", 0, 6)
    for envelope in envelopes:
        patient.carrier.script[envelope.recipient] = [Unconfirmed("gone")] * 9
    await patient.submit(*envelopes)

    def all_known_in_time() -> bool:
        if not patient.transmitter.transmitting:
            patient.look(61)
        return not patient.unfinished()

    await eventually(all_known_in_time)
    stages = [fact.stage for fact in (await patient.facts()).values() if isinstance(fact, Refused)]
    assert stages == [Stage.UNCONFIRMED] * 6
    assert set(patient.carrier.dots.values()) == {2}


async def test_421_for_a_mail_is_an_answer_to_it_and_a_failure_of_its_exchanger(
    patient: Bench, eventually: Eventually
) -> None:
    busy = Carried(Refusal(Stage.DOT, 421, "4.3.2", "closing"), "x.test")
    for envelope in (envelopes := some("x.test", 0, 9)):
        patient.carrier.script[envelope.recipient] = [busy]
    await patient.submit(*envelopes)
    await eventually(patient.transmitter.suspended)
    assert patient.transmitter.suspended()[0].reason == "dot: 421"
    facts = await patient.facts()
    assert {fact.code for fact in facts.values()} == {421}


async def test_refused_recipients_suspend_nobody(patient: Bench, eventually: Eventually) -> None:
    for envelope in (envelopes := some("x.test", 0, 20)):
        patient.carrier.script[envelope.recipient] = [GREY]
    await patient.submit(*envelopes)
    await eventually(lambda: not patient.unfinished())
    assert not patient.transmitter.suspended()


async def test_what_a_suspended_exchanger_has_no_room_for(eventually: Eventually) -> None:
    bench = Bench(Limits(max_jobs=4, patience=FAST, capacity=40))
    bench.carrier.broken.add("dead.test")
    await bench.submit(*some("dead.test", 0, 14))
    await eventually(bench.transmitter.suspended)
    await eventually(lambda: not bench.transmitter.transmitting)
    assert bench.unfinished() >= 10
    offered = [*some("dead.test", 100, 3), *some("well.test", 200, 3)]
    turned_away = bench.transmitter.without_room(offered)
    assert turned_away == {envelope.delivery: 60.0 for envelope in offered[:3]}
    await bench.transmitter.stop(1)


def test_the_most_telling_failure() -> None:
    address, no_dns, first, last = (
        Carried(Refusal(stage, 0, "", text), text)
        for stage, text in [
            (Stage.ADDRESS, "a"),
            (Stage.DNS, "d"),
            (Stage.CONNECT, "first"),
            (Stage.GREETING, "last"),
        ]
    )
    assert most_telling([first, last, no_dns, address]) is last
    assert most_telling([address, no_dns]) is no_dns
    assert most_telling([address]) is address


def test_domains_with_the_same_exchangers_are_one_destination() -> None:
    one = destination_of([Exchanger(20, "mx2.test"), Exchanger(10, "MX1.test")])
    assert one == destination_of([Exchanger(1, "mx1.test"), Exchanger(5, "mx2.test")])
    assert one != destination_of([Exchanger(1, "mx2.test"), Exchanger(5, "mx1.test")])
