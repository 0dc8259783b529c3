"""What the edge does after a crash, for what is emitted again, and for callers that go away.

A crash is the journal as it was at that moment, under another edge.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_smtp.attempts import AttemptId
from edge_smtp.transmitter import Limits
from kannon.core.payloads import Delivered
from kannon.core.replies import Stage
from tests.edge_harness import Edge, Exchangers, refusal
from tests.edge_samples import an_envelope
from tests.fakes import FakePublisher
from tests.smtp_peer import Behaviour, SmtpPeer

pytest_plugins = ("tests.edge_fixtures",)
Eventually = Callable[..., Awaitable[object]]


def crash(tmp_path: Path) -> Path:
    """The first edge's journal as a power failure now would leave it."""
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"journal0{suffix}", tmp_path / f"journal1{suffix}")
    return tmp_path / "journal1"


async def test_a_crash_between_intent_and_result(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, tmp_path: Path
) -> None:
    peer.behaviours["hang"] = Behaviour(hang="dot", times=1)
    first = await edge(peer, limits=Limits(max_jobs=1))
    await first.submit(an_envelope(1, recipient="hang@x.test"), an_envelope(2, recipient="waits@x.test"))
    await eventually(lambda: peer.copies()["hang@x.test"] == 1)
    crash(tmp_path)
    second = await edge(peer)
    await eventually(second.has(2))
    assert {seq: fact.ambiguities for seq, fact in second.facts().items()} == {1: 1, 2: 0}
    assert peer.copies() == {"hang@x.test": 2, "waits@x.test": 1}
    first.transmitter._stopping = True  # it is dead
    peer.drop_all()


@pytest.mark.parametrize("is_still_known", [True, False])
async def test_after_a_crash_only_the_exchanger_that_saw_the_dot_is_tried(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, tmp_path: Path, is_still_known: bool
) -> None:
    peer.behaviours["*"] = Behaviour(hang="dot", times=1)
    with SmtpPeer(port=peer.port, host="127.0.0.2") as second:
        first = await edge(lookup=Exchangers(peer, second))
        await first.submit(an_envelope())
        await eventually(lambda: len(peer.received) == 1)
        crash(tmp_path)
        peer.greeting = "421 4.3.2 restarting"
        known = [peer, second] if is_still_known else [second]
        other = await edge(lookup=Exchangers(*known))
        await eventually(other.has(1))
        fact = other.facts()[1]
        assert refusal(fact)[:2] == ((Stage.GREETING, 421) if is_still_known else (Stage.CONNECT, 0))
        assert (fact.exchanger, fact.ambiguities) == (peer.host, 1)
        assert second.connections == 0
        first.transmitter._stopping = True
        peer.drop_all()


async def test_crashes_again_and_again_end_unconfirmed(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, tmp_path: Path
) -> None:
    peer.behaviours["*"] = Behaviour(hang="dot")
    first = await edge(peer)
    await first.submit(an_envelope())
    await eventually(lambda: len(peer.received) == 1)
    # As a second run would, before it crashed as well:
    await first.journal.intend(AttemptId(7, 1, 1), 1, peer.host)
    crash(tmp_path)
    second = await edge(peer)
    await eventually(second.has(1))
    assert refusal(second.facts()[1])[0] is Stage.UNCONFIRMED
    assert len(peer.received) == 1
    first.transmitter._stopping = True
    peer.drop_all()


async def test_a_crash_before_the_result_was_published(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, tmp_path: Path
) -> None:
    away = FakePublisher()
    away.away = True
    first = await edge(peer, publisher=away)
    await first.submit(an_envelope())

    async def unpublished() -> bool:
        return len(await first.journal.unpublished(10)) == 1

    await eventually(unpublished)
    crash(tmp_path)
    second = await edge(peer)
    await eventually(second.has(1))
    assert isinstance(second.facts()[1], Delivered)
    assert len(peer.received) == 1
    away.away = False
    await eventually(first.has(1))
    assert first.facts() == second.facts()


async def test_an_emission_repeated_is_told_again_and_not_transmitted(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    one = await edge(peer)
    await one.submit(an_envelope())
    await eventually(one.has(1))
    await one.submit(an_envelope(), an_envelope(emission=2))
    await eventually(lambda: len(one.all_facts()) == 2)
    first, second = one.all_facts()
    assert (first.emitted.emission, second.emitted.emission) == (1, 2)
    assert replace(second, emitted=first.emitted) == first
    assert len(peer.received) == 1


async def test_a_lost_journal_counts_as_ambiguous(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer)
    long_ago = an_envelope(1, first_emitted_at_ms=one.journal.born_at_ms - 1)
    lately = an_envelope(2, first_emitted_at_ms=one.journal.born_at_ms)
    await one.submit(long_ago, lately)
    await eventually(one.has(2))
    assert {seq: fact.ambiguities for seq, fact in one.facts().items()} == {1: 1, 2: 0}


async def test_a_caller_that_goes_away_loses_nothing(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    one = await edge(peer)
    calls = [asyncio.create_task(one.submit(an_envelope(n))) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await eventually(one.has(20))
    assert len(peer.received) == 20
