"""The edge and exchangers on 127.0.0.1 that refuse, reset, or answer one octet at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from edge_smtp.health import Patience
from edge_smtp.transmitter import Limits
from kannon.adapters.envelope_octets import submit_octets
from kannon.adapters.pb import edge_pb2
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import Delivered, Refused
from kannon.core.replies import Stage
from tests.edge_harness import NO_CONTEXT, Edge, EdgeHarness, Exchangers
from tests.edge_samples import an_envelope
from tests.smtp_peer import Behaviour, SmtpPeer

pytest_plugins = ("tests.edge_fixtures",)
Eventually = Callable[..., Awaitable[object]]

QUICK = Patience(failures=4, first=0.4, longest=0.8)


async def described(one: EdgeHarness) -> edge_pb2.DescribeResponse:
    return await one.submission.Describe(edge_pb2.DescribeRequest(), NO_CONTEXT)


def routes(**peers: SmtpPeer) -> dict[str, Exchanger]:
    return {f"{name}.test": Exchanger(0, peer.host, peer.port) for name, peer in peers.items()}


async def test_one_that_refuses_is_left_alone_and_gets_everything_once_when_it_is_back(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    with SmtpPeer(greeting="421 4.3.2 not now") as away:
        one = await edge(routes=routes(away=away, well=peer), limits=Limits(patience=QUICK))
        await one.submit(*(an_envelope(n, recipient=f"r{n}@away.test") for n in range(300)))
        await eventually(one.transmitter.suspended)
        await one.submit(*(an_envelope(1000 + n, recipient=f"r{n}@well.test") for n in range(300)))
        await eventually(lambda: len(peer.received) == 300)
        await eventually(lambda: away.connections >= 6)  # two probes at least
        assert away.connections <= 12
        about = await described(one)
        assert about.held >= 300 - away.connections
        (suspended,) = about.suspended
        assert (suspended.host, suspended.port) == (away.host, away.port)
        assert suspended.reason == "greeting: 421 not now"
        away.greeting = ""
        await eventually(one.has(600))
        refused = [fact for fact in one.facts().values() if isinstance(fact, Refused)]
        assert {fact.stage for fact in refused} == {Stage.GREETING}
        assert len(refused) <= away.connections <= 25
        copies = away.copies()
        assert len(copies) == 300 - len(refused)
        assert set(copies.values()) == {1}
        assert (await described(one)).suspended_total == 0


async def test_one_that_does_not_listen_gets_everything_when_it_does_again(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    peer.stop()
    one = await edge(peer, limits=Limits(patience=QUICK))
    await one.submit(*(an_envelope(n, recipient=f"r{n}@x.test") for n in range(50)))
    await eventually(one.transmitter.suspended)
    await eventually(lambda: not one.transmitter.transmitting)
    assert (await described(one)).held >= 40
    peer.start()
    await eventually(one.has(50))
    lost = [fact for fact in one.facts().values() if isinstance(fact, Refused)]
    assert len(lost) <= 10
    assert set(peer.copies().values()) == {1}
    assert len(peer.received) == 50 - len(lost)


async def test_what_waits_for_one_that_stays_away_expires(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    with SmtpPeer(greeting="554 closed") as away:
        one = await edge(away, limits=Limits(patience=Patience(failures=4, first=60.0)))
        soon = time.time_ns() // 1_000_000 + 1000
        await one.submit(
            *(an_envelope(n, recipient=f"r{n}@away.test", expires_at_ms=soon) for n in range(50))
        )
        await eventually(one.has(50))
        stages = [fact.stage for fact in one.facts().values() if isinstance(fact, Refused)]
        assert stages.count(Stage.EXPIRED) >= 44
        assert stages.count(Stage.EXPIRED) + stages.count(Stage.GREETING) == 50


async def test_of_two_exchangers_the_one_that_is_away_costs_nothing(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    with SmtpPeer(greeting="554 closed") as away:
        patience = Patience(failures=4, first=60.0)
        one = await edge(lookup=Exchangers(away, peer), limits=Limits(patience=patience))
        await one.submit(*(an_envelope(n, recipient=f"r{n}@x.test") for n in range(200)))
        await eventually(one.has(200))
        assert all(isinstance(fact, Delivered) for fact in one.facts().values())
        assert away.connections <= 8


async def test_one_that_resets_after_every_dot_gets_no_mail_more_than_twice(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    peer.behaviours["*"] = Behaviour(drop="dot")
    one = await edge(peer, limits=Limits(patience=Patience(failures=3, first=0.1, longest=0.2)))
    await one.submit(*(an_envelope(n, recipient=f"r{n}@x.test") for n in range(8)))
    await eventually(lambda: len(one.transmitter.ambiguous()) >= 2)
    about = await described(one)
    assert about.ambiguous_total >= 2
    assert {it.exchanger for it in about.ambiguous} == {peer.host}
    await eventually(one.has(8))
    assert set(peer.copies().values()) == {2}
    assert {fact.ambiguities for fact in one.facts().values()} == {2}


async def test_the_rest_of_a_suspended_ones_mail_is_to_come_later(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(greeting="554 closed") as away:
        one = await edge(away, limits=Limits(patience=Patience(failures=4, first=60.0)), capacity=80)
        await one.submit(*(an_envelope(n, recipient=f"r{n}@away.test") for n in range(26)))
        await eventually(one.transmitter.suspended)
        await eventually(lambda: not one.transmitter.transmitting)
        known, *more = (an_envelope(n, recipient=f"r{n}@away.test") for n in (20, 100, 101))
        request = edge_pb2.SubmitRequest.FromString(submit_octets([known, *more]))
        response = await one.submission.Submit(request, NO_CONTEXT)
        assert [(answer.verdict, answer.wait_ms) for answer in response.answers] == [
            (edge_pb2.VERDICT_TAKEN, 0),
            (edge_pb2.VERDICT_UNTAKEN, 60_000),
            (edge_pb2.VERDICT_UNTAKEN, 60_000),
        ]


@pytest.mark.parametrize("slow", ["dot", "rcpt"])
async def test_slow_ones_leave_the_others_their_speed(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, slow: str
) -> None:
    with (
        SmtpPeer(behaviours={"*": Behaviour(hang=slow)}) as first,
        SmtpPeer(behaviours={"*": Behaviour(hang=slow)}) as second,
    ):
        one = await edge(
            routes=routes(first=first, second=second, well=peer), limits=Limits(max_jobs=4), scale=1.0
        )
        await one.submit(
            *(an_envelope(n, recipient=f"r{n}@{('first', 'second')[n % 2]}.test") for n in range(40)),
            *(an_envelope(100 + n, recipient=f"r{n}@well.test") for n in range(200)),
        )
        await eventually(lambda: len(peer.received) == 200)
        assert first.hanging + second.hanging <= 4
        assert one.transmitter.transmitting <= 8
        one.transmitter._stopping = True
        first.drop_all()
        second.drop_all()
        await asyncio.sleep(0)
