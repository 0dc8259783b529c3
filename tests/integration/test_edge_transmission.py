"""The edge against exchangers on 127.0.0.1 that take, refuse, stall and vanish."""

import asyncio
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from edge_smtp.attempts import AttemptId
from edge_smtp.transmitter import Limits

from kannon.adapters.pb import edge_pb2
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import Delivered, Refused
from kannon.core.replies import Stage
from tests.dns_server import DnsServer
from tests.edge_harness import EdgeHarness
from tests.edge_samples import BODY, an_envelope
from tests.fakes import FakePublisher
from tests.smtp_peer import Behaviour, SmtpPeer

Eventually = Callable[..., Awaitable[object]]
Edge = Callable[..., Awaitable[EdgeHarness]]


@pytest.fixture
def peer() -> Iterator[SmtpPeer]:
    with SmtpPeer() as running:
        yield running


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """Makes edges whose mail all goes to the given peer, or by routes or DNS as told."""
    running: list[EdgeHarness] = []

    async def make(peer: SmtpPeer | None = None, **settings: object) -> EdgeHarness:
        routes = {"*": Exchanger(0, peer.host, peer.port)} if peer else {}
        given = {"routes": routes} | settings
        made = EdgeHarness(tmp_path / f"journal{len(running)}", **given)  # type: ignore[arg-type]
        running.append(await made.start())
        return made

    yield make
    for one in running:
        await one.stop()


@pytest.fixture(scope="module")
def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("peer.test").configure_cert(context)
    return context


def refusal(fact: Delivered | Refused) -> tuple[Stage, int, str, str]:
    assert isinstance(fact, Refused)
    return fact.stage, fact.code, fact.enhanced, fact.text


async def test_a_mail_arrives_as_it_is(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer)
    body = b"Subject: dots\r\n\r\n.\r\n..two\r\nend." + b"\r\n" + b"x" * 900 + b"\r\n.last\r\n"
    assert await one.submit(an_envelope(body=body)) == [edge_pb2.VERDICT_TAKEN]
    await eventually(one.has(1))
    (received,) = peer.received
    assert received.content == body
    assert (received.sender, received.recipient) == ("bounce+token@sender.test", "bob@example.test")
    fact = one.facts()[1]
    assert isinstance(fact, Delivered)
    assert (fact.code, fact.enhanced, fact.text) == (250, "2.0.0", "queued as 1")
    assert (fact.exchanger, fact.ambiguities) == ("127.0.0.1", 0)
    assert abs(fact.at.timestamp() - time.time()) < 10


async def test_verdicts(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer, capacity=2)
    peer.behaviours["*"] = Behaviour(delay=0.2)
    forged = replace(an_envelope(1), recipient="eve@example.test")
    foreign = an_envelope(1, key=b"another key" * 3)
    empty = replace(an_envelope(1), body=b"")
    answers = await one.submit(forged, an_envelope(1), foreign, an_envelope(2), empty, an_envelope(3))
    refused, taken, untaken = edge_pb2.VERDICT_REFUSED, edge_pb2.VERDICT_TAKEN, edge_pb2.VERDICT_UNTAKEN
    assert answers == [refused, taken, refused, taken, refused, untaken]
    await eventually(one.has(2))
    assert peer.copies() == {"bob@example.test": 2}


@pytest.mark.parametrize("without", [frozenset(), frozenset({"PIPELINING"})], ids=["pipelined", "one by one"])
async def test_refusals_at_each_stage_and_the_connection_goes_on(
    edge: Edge, eventually: Eventually, without: frozenset[str]
) -> None:
    behaviours = {
        "rcpt5": Behaviour(rcpt="550-5.1.1 no such\r\n550 5.1.1 user"),
        "rcpt4": Behaviour(rcpt="450 4.7.1 greylisted"),
        "data": Behaviour(data="451 later"),
        "dot5": Behaviour(dot="554 5.7.1 spam"),
        "dot4": Behaviour(dot="452 4.2.2 full"),
    }
    expected = {
        "rcpt5": (Stage.RCPT, 550, "5.1.1", "no such user"),
        "rcpt4": (Stage.RCPT, 450, "4.7.1", "greylisted"),
        "data": (Stage.DATA, 451, "", "later"),
        "dot5": (Stage.DOT, 554, "5.7.1", "spam"),
        "dot4": (Stage.DOT, 452, "4.2.2", "full"),
    }
    with SmtpPeer(behaviours=behaviours, without=without) as peer:
        one = await edge(peer, limits=Limits(max_jobs=1))
        names = [*behaviours, "fine"]
        await one.submit(*(an_envelope(n, recipient=f"{name}@x.test") for n, name in enumerate(names)))
        await eventually(one.has(len(names)))
        facts = one.facts()
        assert {name: refusal(facts[n]) for n, name in enumerate(behaviours)} == expected
        assert isinstance(facts[len(behaviours)], Delivered)
        assert peer.copies() == {"fine@x.test": 1}
        assert peer.connections == 1


async def test_mail_is_refused(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(mail_reply="553 5.1.8 who are you") as peer:
        one = await edge(peer)
        await one.submit(an_envelope())
        await eventually(one.has(1))
        assert refusal(one.facts()[1]) == (Stage.MAIL, 553, "5.1.8", "who are you")


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        ("554 5.3.2 go away", (Stage.GREETING, 554, "5.3.2", "go away")),
        ("421 4.3.2 busy", (Stage.GREETING, 421, "4.3.2", "busy")),
        ("hello", (Stage.GREETING, 0, "", "a reply that is no SMTP reply")),
    ],
)
async def test_bad_greetings(
    edge: Edge, eventually: Eventually, greeting: str, expected: tuple[Stage, int, str, str]
) -> None:
    with SmtpPeer(greeting=greeting) as peer:
        one = await edge(peer)
        await one.submit(an_envelope())
        await eventually(one.has(1))
        assert refusal(one.facts()[1]) == expected


@pytest.mark.parametrize(
    ("moment", "stage"), [("rcpt", Stage.RCPT), ("data", Stage.DATA), ("message", Stage.DATA)]
)
async def test_a_connection_lost_before_the_dot_is_temporary(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, moment: str, stage: Stage
) -> None:
    one = await edge(peer)
    peer.behaviours["*"] = Behaviour(drop=moment)
    large = BODY + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 30_000
    await one.submit(an_envelope(body=large))
    await eventually(one.has(1))
    lost = refusal(one.facts()[1])
    assert (lost[0], lost[1]) == (stage, 0)
    assert "the connection ended" in lost[3]
    assert not peer.copies()


async def test_silence_after_the_dot_is_repeated_once(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    one = await edge(peer)
    peer.behaviours |= {"once": Behaviour(drop="dot", times=1), "always": Behaviour(drop="dot")}
    await one.submit(an_envelope(1, recipient="once@x.test"), an_envelope(2, recipient="always@x.test"))
    await eventually(one.has(2))
    assert peer.copies() == {"once@x.test": 2, "always@x.test": 2}
    facts = one.facts()
    assert isinstance(facts[1], Delivered)
    assert facts[1].ambiguities == 1
    assert refusal(facts[2])[:2] == (Stage.UNCONFIRMED, 0)
    assert facts[2].ambiguities == 2


async def test_after_the_dot_no_other_exchanger_is_tried(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    peer.behaviours["*"] = Behaviour(drop="dot", times=1)
    with SmtpPeer(port=peer.port, host="127.0.0.2") as second:
        one = await edge(peer, limits=Limits(max_ambiguous=0))
        one._carrier._lookup = _Two(peer, second)
        await one.submit(an_envelope())
        await eventually(one.has(1))
        assert refusal(one.facts()[1])[0] is Stage.UNCONFIRMED
        assert second.connections == 0


class _Two:
    """A lookup that knows two exchangers."""

    def __init__(self, *peers: SmtpPeer) -> None:
        self._exchangers = [Exchanger(n, peer.host, peer.port) for n, peer in enumerate(peers)]

    async def exchangers(self, domain: str) -> list[Exchanger]:
        return self._exchangers

    async def addresses(self, host: str) -> list[str]:
        return [host]


async def test_slow_peers_are_waited_for_only_so_long(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    one = await edge(peer, scale=0.0005)
    peer.behaviours |= {"rcpt": Behaviour(hang="rcpt"), "dot": Behaviour(hang="dot")}
    await one.submit(an_envelope(1, recipient="rcpt@x.test"), an_envelope(2, recipient="dot@x.test"))
    await eventually(one.has(2))
    assert refusal(one.facts()[1]) == (Stage.RCPT, 0, "", "no answer within 0.15 s")
    assert refusal(one.facts()[2]) == (Stage.UNCONFIRMED, 0, "", "no answer within 0.3 s")
    assert peer.copies() == {"dot@x.test": 2}


async def test_a_slow_destination_does_not_hold_up_others(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    with SmtpPeer(behaviours={"*": Behaviour(hang="dot")}) as stuck:
        routes = {
            "stuck.test": Exchanger(0, "127.0.0.1", stuck.port),
            "*": Exchanger(0, "127.0.0.1", peer.port),
        }
        one = await edge(None, routes=routes, limits=Limits(max_jobs=4), scale=1.0)
        await one.submit(*(an_envelope(n, recipient=f"r{n}@stuck.test") for n in range(20)))
        await eventually(lambda: stuck.connections == 2)
        await one.submit(*(an_envelope(100 + n, recipient=f"r{n}@fast.test") for n in range(50)))
        await eventually(one.has(50))
        assert len(peer.received) == 50
        stuck.drop_all()
        one.transmitter._stopping = True


async def test_connections_are_reused(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer, limits=Limits(max_jobs=3))
    await one.submit(*(an_envelope(n, recipient=f"r{n}@x.test") for n in range(60)))
    await eventually(one.has(60))
    assert peer.connections <= 3
    assert set(peer.copies().values()) == {1}


async def test_connections_serve_so_many_mails(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer, limits=Limits(max_jobs=1), mails_per_session=4)
    await one.submit(*(an_envelope(n) for n in range(10)))
    await eventually(one.has(10))
    assert peer.connections == 3


async def test_a_peer_that_wants_no_more_gets_a_new_connection(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(mails_per_connection=2) as peer:
        one = await edge(peer, limits=Limits(max_jobs=1))
        await one.submit(*(an_envelope(n) for n in range(5)))
        await eventually(one.has(5))
        assert all(isinstance(fact, Delivered) for fact in one.facts().values())
        assert peer.connections == 3


@pytest.mark.parametrize("how", ["closed by the peer", "lost", "lost at MAIL"])
async def test_an_idle_connection_that_died_is_replaced_silently(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, how: str
) -> None:
    one = await edge(peer, limits=Limits(max_jobs=1))
    await one.submit(an_envelope(1))
    await eventually(one.has(1))
    if how == "lost at MAIL":
        peer.behaviours["*"] = Behaviour(drop="rcpt", times=1)
    elif how == "lost":
        peer.drop_all()
        await eventually(lambda: not peer._open)
    else:
        peer.behaviours["*"] = Behaviour(drop="after")
        await one.submit(an_envelope(2))
        await eventually(one.has(2))
        peer.behaviours.clear()
    await one.submit(an_envelope(3))
    await eventually(lambda: 3 in one.facts())
    assert isinstance(one.facts()[3], Delivered)
    assert one.facts()[3].ambiguities == 0
    assert peer.connections == 2


async def test_idle_connections_are_closed(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer, idle_seconds=0.05)
    await one.submit(an_envelope())
    await eventually(one.has(1))
    await eventually(lambda: not peer._open)


async def test_starttls_is_used_where_offered(
    edge: Edge, eventually: Eventually, server_tls: ssl.SSLContext
) -> None:
    with SmtpPeer(tls=server_tls) as peer:
        one = await edge(peer, limits=Limits(max_jobs=1))
        await one.submit(*(an_envelope(n) for n in range(3)))
        await eventually(one.has(3))
        assert [received.tls for received in peer.received] == [True] * 3
        assert peer.connections == 1


async def test_a_large_mail_over_tls(edge: Edge, eventually: Eventually, server_tls: ssl.SSLContext) -> None:
    body = BODY + (b"." * 70 + b"\r\n") * 30_000
    with SmtpPeer(tls=server_tls) as peer:
        one = await edge(peer)
        await one.submit(an_envelope(body=body))
        await eventually(one.has(1))
        assert peer.received[0].content == body


async def test_broken_starttls_goes_on_in_plain_text(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(broken_tls=True) as peer:
        one = await edge(peer, limits=Limits(max_jobs=1), mails_per_session=1)
        await one.submit(*(an_envelope(n) for n in range(3)))
        await eventually(one.has(3))
        assert [received.tls for received in peer.received] == [False] * 3
        assert peer.connections == 4  # TLS is not tried again for a while


async def test_a_peer_that_insists_on_tls_it_cannot_do(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(broken_tls=True, mail_reply="530 5.7.0 STARTTLS first") as peer:
        one = await edge(peer)
        await one.submit(an_envelope())
        await eventually(one.has(1))
        assert refusal(one.facts()[1])[:2] == (Stage.STARTTLS, 0)


async def test_eight_bit_and_utf8(edge: Edge, peer: SmtpPeer, eventually: Eventually) -> None:
    one = await edge(peer, limits=Limits(max_jobs=1))
    eight_bit = "Subject: x\r\n\r\nGrüße\r\n".encode()
    header = "Subject: Grüße\r\n\r\nx\r\n".encode()
    await one.submit(
        an_envelope(1),
        an_envelope(2, body=eight_bit),
        an_envelope(3, body=header),
        an_envelope(4, recipient="jörg@exämple.test"),
    )
    await eventually(one.has(4))
    by_content = {received.content: received for received in peer.received[:3]}
    assert by_content[BODY].options == (f"SIZE={len(BODY)}",)
    assert by_content[eight_bit].options[1:] == ("BODY=8BITMIME",)
    assert by_content[header].options[1:] == ("BODY=8BITMIME", "SMTPUTF8")
    assert peer.copies()["jörg@xn--exmple-cua.test"] == 1


async def test_utf8_that_the_peer_does_not_know(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(without=frozenset({"SMTPUTF8"})) as peer:
        one = await edge(peer, limits=Limits(max_jobs=1))
        await one.submit(an_envelope(1, recipient="jörg@x.test"), an_envelope(2))
        await eventually(one.has(2))
        assert refusal(one.facts()[1])[:3] == (Stage.MAIL, 550, "5.6.7")
        assert isinstance(one.facts()[2], Delivered)
        assert peer.connections == 1


async def test_a_message_larger_than_the_peer_takes(edge: Edge, eventually: Eventually) -> None:
    with SmtpPeer(size_limit=50) as peer:
        one = await edge(peer)
        await one.submit(an_envelope())
        await eventually(one.has(1))
        assert refusal(one.facts()[1])[:3] == (Stage.MAIL, 552, "5.3.4")


# The way: MX, addresses, other exchangers.


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer({}) as server:
        yield server


async def test_exchangers_in_order_of_preference(
    edge: Edge, peer: SmtpPeer, dns: DnsServer, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        SmtpPeer(port=peer.port, host="127.0.0.2") as second,
        SmtpPeer(port=peer.port, host="127.0.0.3") as third,
    ):
        dns.zone |= {
            "x.test": {"MX": ["30 mx3.x.test.", "10 mx1.x.test.", "20 mx2.x.test."]},
            "mx1.x.test": {"A": ["127.0.0.1"]},
            "mx2.x.test": {"A": ["127.0.0.2"]},
            "mx3.x.test": {"A": ["127.0.0.3"]},
        }
        one = await edge(None, servers=dns.servers)
        on_port(one, peer.port)
        await one.submit(an_envelope(1, recipient="a@x.test"))
        await eventually(one.has(1))
        assert one.facts()[1].exchanger == "mx1.x.test"
        peer.greeting = "554 closed"
        peer.drop_all()
        await eventually(lambda: not peer._open)
        await one.submit(an_envelope(2, recipient="b@x.test"))
        await eventually(one.has(2))
        second.stop()
        await one.submit(an_envelope(3, recipient="c@x.test"))
        await eventually(one.has(3))
        assert [one.facts()[n].exchanger for n in (1, 2, 3)] == ["mx1.x.test", "mx2.x.test", "mx3.x.test"]
        assert all(isinstance(fact, Delivered) for fact in one.facts().values())
        assert third.copies() == {"c@x.test": 1}


def on_port(one: EdgeHarness, port: int) -> None:
    """Let exchangers found by MX listen on another port than 25, which tests may not have."""
    lookup = one._carrier._lookup
    found = lookup.exchangers

    async def exchangers(domain: str) -> list[Exchanger]:
        return [replace(exchanger, port=port) for exchanger in await found(domain)]

    lookup.exchangers = exchangers  # type: ignore[method-assign]


async def test_every_address_of_an_exchanger(
    edge: Edge, peer: SmtpPeer, dns: DnsServer, eventually: Eventually
) -> None:
    dns.zone |= {"x.test": {"A": ["127.0.0.1", "127.0.0.4"], "AAAA": ["::1"]}}
    one = await edge(None, servers=dns.servers)
    on_port(one, peer.port)
    await one.submit(an_envelope(recipient="a@x.test"))
    await eventually(one.has(1))
    assert isinstance(one.facts()[1], Delivered)


async def test_private_addresses_are_refused(
    edge: Edge, peer: SmtpPeer, dns: DnsServer, eventually: Eventually
) -> None:
    dns.zone |= {
        "in.test": {
            "MX": ["10 in.test.", "20 also.in.test."],
            "A": ["127.0.0.1"],
            "AAAA": ["::ffff:127.0.0.1"],
        },
        "also.in.test": {"A": ["10.0.0.1"]},
        "mixed.test": {"MX": ["10 in.test.", "20 gone.test."]},
    }
    one = await edge(None, servers=dns.servers, allowed="")
    on_port(one, peer.port)
    await one.submit(an_envelope(1, recipient="a@in.test"), an_envelope(2, recipient="a@mixed.test"))
    await eventually(one.has(2))
    assert refusal(one.facts()[1])[:2] == (Stage.ADDRESS, 0)
    assert refusal(one.facts()[2]) == (Stage.DNS, 0, "4.4.4", "gone.test has no address")
    assert peer.connections == 0


async def test_domains_without_way(edge: Edge, dns: DnsServer, eventually: Eventually) -> None:
    dns.zone |= {
        "null.test": {"MX": ["0 ."]},
        "broken.test": "SERVFAIL",
        "lost.test": {"MX": ["10 gone.test."]},
        "blind.test": {"MX": ["10 mx.broken.test."]},
        "mx.broken.test": "SERVFAIL",
    }
    one = await edge(None, servers=dns.servers)
    names = ["null", "none", "broken", "lost", "blind"]
    await one.submit(*(an_envelope(n, recipient=f"a@{name}.test") for n, name in enumerate(names)))
    await eventually(one.has(5))
    found = [refusal(one.facts()[n])[:3] for n in range(5)]
    assert found == [
        (Stage.DNS, 0, "5.1.10"),
        (Stage.DNS, 0, "5.1.2"),
        (Stage.DNS, 0, "4.4.3"),
        (Stage.DNS, 0, "4.4.4"),
        (Stage.DNS, 0, "4.4.3"),
    ]


async def test_nobody_listens(edge: Edge, eventually: Eventually) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one = await edge(None, routes={"*": Exchanger(0, "127.0.0.1", free.getsockname()[1])})
        await one.submit(an_envelope())
        await eventually(one.has(1))
    stage, code, _, text = refusal(one.facts()[1])
    assert (stage, code) == (Stage.CONNECT, 0)
    assert text.startswith("127.0.0.1: ")


async def test_nobody_answers(edge: Edge, eventually: Eventually) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        route = Exchanger(0, "127.0.0.1", silent.getsockname()[1])
        one = await edge(None, routes={"*": route}, scale=0.0005)
        await one.submit(an_envelope())
        await eventually(one.has(1))
    assert refusal(one.facts()[1]) == (Stage.GREETING, 0, "", "no answer within 0.15 s")


# Crashes: the journal as it was at that moment, under another edge.


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


async def test_crashes_again_and_again_end_unconfirmed(
    edge: Edge, peer: SmtpPeer, eventually: Eventually, tmp_path: Path
) -> None:
    peer.behaviours["*"] = Behaviour(hang="dot")
    first = await edge(peer)
    await first.submit(an_envelope())
    await eventually(lambda: len(peer.received) == 1)
    await first.journal.intend(AttemptId(7, 1, 1), 1)  # as a second run would, before it crashed as well
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
    long_ago = an_envelope(1, emission=2, first_emitted_at_ms=one.journal.born_at_ms - 1)
    lately = an_envelope(2, emission=2, first_emitted_at_ms=one.journal.born_at_ms)
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
