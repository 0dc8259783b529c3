"""How the edge gets to an exchanger: MX, addresses, the next one, TLS."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from edge_smtp.transmitter import Limits
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import Delivered
from kannon.core.replies import Stage
from tests.dns_server import DnsServer
from tests.edge_harness import Edge, EdgeHarness, refusal
from tests.edge_samples import BODY, an_envelope
from tests.smtp_peer import SmtpPeer

pytest_plugins = ("tests.edge_fixtures",)
Eventually = Callable[..., Awaitable[object]]


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
