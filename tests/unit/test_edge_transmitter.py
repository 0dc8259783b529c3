"""The transmitter and the publisher of results, with a carrier and a journal that keep nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

import edge_smtp.transmitter
from edge_smtp.attempts import AttemptId, State
from edge_smtp.carriers import Carried, DemoCarrier, destination_of, most_telling
from edge_smtp.session import Unconfirmed
from edge_smtp.transmitter import Limits, Transmitter
from kannon.core.errors import Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain
from kannon.core.payloads import Delivered, Refused, TransmissionsDelivered, TransmissionsRefused
from kannon.core.replies import Refusal, Stage
from tests.edge_samples import an_envelope
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
