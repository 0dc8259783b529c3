"""The edge against exchangers on 127.0.0.1 that take, refuse, stall and vanish."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from edge_smtp.transmitter import Limits
from kannon.adapters.pb import edge_pb2
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import Delivered
from kannon.core.replies import Stage
from tests.edge_harness import Edge, Exchangers, refusal
from tests.edge_samples import BODY, an_envelope
from tests.smtp_peer import Behaviour, SmtpPeer

pytest_plugins = ("tests.edge_fixtures",)
Eventually = Callable[..., Awaitable[object]]


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
        one = await edge(lookup=Exchangers(peer, second), limits=Limits(max_ambiguous=0))
        await one.submit(an_envelope())
        await eventually(one.has(1))
        assert refusal(one.facts()[1])[0] is Stage.UNCONFIRMED
        assert second.connections == 0


async def test_only_the_exchanger_that_saw_the_dot_is_tried_again(
    edge: Edge, peer: SmtpPeer, eventually: Eventually
) -> None:
    with SmtpPeer(port=peer.port, host="127.0.0.2") as second:
        one = await edge(lookup=Exchangers(peer, second), limits=Limits(max_jobs=1))
        await one.submit(an_envelope(1))
        await eventually(one.has(1))
        peer.greeting = "554 closed"  # the idle session is the last one
        peer.behaviours["*"] = Behaviour(drop="dot", times=1)
        await one.submit(an_envelope(2))
        await eventually(one.has(2))
        fact = one.facts()[2]
        assert refusal(fact) == (Stage.GREETING, 554, "", "closed")
        assert (fact.exchanger, fact.ambiguities) == (peer.host, 1)
        assert second.connections == 0
        await one.submit(an_envelope(2, attempt=2))
        await eventually(lambda: second.copies())
        assert second.copies() == {"bob@example.test": 1}


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
