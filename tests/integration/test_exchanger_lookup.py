"""DnsExchangerLookup against a DNS server of our own."""

import asyncio
from collections.abc import Iterator

import dns.name
import dns.rcode
import pytest

from kannon.adapters.dns.exchangers import DnsExchangerLookup
from kannon.core.errors import Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain, parse_routes
from tests.dns_server import DnsServer, Zone

ZONE: Zone = {
    "example.test": {"MX": ["10 mx1.example.test.", "5 mx2.example.test."], "A": ["192.0.2.9"]},
    "mx1.example.test": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]},
    "plain.test": {"A": ["192.0.2.3"]},
    "six.test": {"AAAA": ["2001:db8::3"]},
    "empty.test": {"TXT": ['"nothing"']},
    "null.test": {"MX": ["0 ."], "A": ["192.0.2.4"]},
    "alias.test": {"CNAME": ["example.test."]},
    "lost.test": {"MX": ["10 nowhere.lost.test."]},
    "sink": {"A": ["192.0.2.8"]},
    "broken.test": "SERVFAIL",
    "refused.test": "REFUSED",
    "silent.test": "SILENCE",
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(dict(ZONE)) as running:
        yield running


@pytest.fixture
async def lookup(server: DnsServer, clock: Clock) -> DnsExchangerLookup:
    return DnsExchangerLookup({}, server.servers, timeout=0.3, clock=clock)


async def test_exchangers_with_their_preference(lookup: DnsExchangerLookup) -> None:
    found = await lookup.exchangers("Example.test")
    assert set(found) == {Exchanger(10, "mx1.example.test"), Exchanger(5, "mx2.example.test")}


@pytest.mark.parametrize("domain", ["plain.test", "six.test"])
async def test_without_mx_the_domain_itself(lookup: DnsExchangerLookup, domain: str) -> None:
    assert await lookup.exchangers(domain) == (Exchanger(0, domain),)


async def test_an_alias_is_followed(lookup: DnsExchangerLookup) -> None:
    assert len(await lookup.exchangers("alias.test")) == 2


async def test_an_exchanger_without_address_is_an_exchanger(lookup: DnsExchangerLookup) -> None:
    (exchanger,) = await lookup.exchangers("lost.test")
    assert await lookup.addresses(exchanger.host) == ()


@pytest.mark.parametrize(
    ("domain", "reason", "enhanced"),
    [
        ("null.test", "null_mx", "5.1.10"),
        ("none.test", "no_such_domain", "5.1.2"),
        ("empty.test", "no_exchanger", "5.1.2"),
        (f"{'x' * 64}.test", "no_such_domain", "5.1.2"),
        ("a..test", "no_such_domain", "5.1.2"),
    ],
)
async def test_domains_that_take_no_mail(
    lookup: DnsExchangerLookup, domain: str, reason: str, enhanced: str
) -> None:
    with pytest.raises(UndeliverableDomain) as raised:
        await lookup.exchangers(domain)
    assert (raised.value.reason, raised.value.enhanced) == (reason, enhanced)


@pytest.mark.parametrize("domain", ["broken.test", "refused.test", "silent.test"])
async def test_no_answer_is_temporary(lookup: DnsExchangerLookup, domain: str) -> None:
    with pytest.raises(Unavailable):
        await lookup.exchangers(domain)
    with pytest.raises(Unavailable):
        await lookup.addresses(domain)


async def test_addresses_of_both_kinds(lookup: DnsExchangerLookup) -> None:
    *four, six = await lookup.addresses("mx1.example.test")
    assert (set(four), six) == ({"192.0.2.1", "192.0.2.2"}, "2001:db8::1")
    assert await lookup.addresses("none.test") == ()
    assert await lookup.addresses("192.0.2.7") == ("192.0.2.7",)
    assert await lookup.addresses("2001:DB8::7") == ("2001:db8::7",)
    assert await lookup.addresses("sink") == ("192.0.2.8",)
    assert await lookup.addresses("localhost") == ("127.0.0.1", "::1")


async def test_one_kind_of_address_is_enough(lookup: DnsExchangerLookup, server: DnsServer) -> None:
    answer = server.answer

    def no_ipv6(query: bytes) -> object:
        response = answer(query)
        if response is not None and "AAAA" in response.question[0].to_text():
            response.set_rcode(dns.rcode.SERVFAIL)
            response.answer.clear()
        return response

    server.answer = no_ipv6  # type: ignore[method-assign,assignment]
    assert set(await lookup.addresses("mx1.example.test")) == {"192.0.2.1", "192.0.2.2"}


async def test_routes_ask_nobody(server: DnsServer) -> None:
    routes = parse_routes("example.test=10.0.0.1:2525,*=smart.test")
    lookup = DnsExchangerLookup(routes, server.servers)
    assert await lookup.exchangers("example.test") == (Exchanger(0, "10.0.0.1", 2525),)
    assert await lookup.exchangers("none.test") == (Exchanger(0, "smart.test", 25),)
    assert not server.asked


async def test_a_truncated_answer_is_asked_for_over_tcp(
    lookup: DnsExchangerLookup, server: DnsServer
) -> None:
    server.truncate = True
    assert len(await lookup.exchangers("example.test")) == 2
    assert server.asked["example.test", "MX"] == 2


async def test_answers_hold_for_their_ttl(
    lookup: DnsExchangerLookup, server: DnsServer, clock: Clock
) -> None:
    await lookup.exchangers("example.test")
    server.zone["example.test"] = {"MX": ["1 new.example.test."]}
    clock.now += 59
    assert len(await lookup.exchangers("example.test")) == 2
    clock.now += 2
    assert await lookup.exchangers("example.test") == (Exchanger(1, "new.example.test"),)
    assert server.asked["example.test", "MX"] == 2


async def test_failures_hold_for_a_shorter_time(
    lookup: DnsExchangerLookup, server: DnsServer, clock: Clock
) -> None:
    server.ttl = 3600
    for domain, error, hold in (("none.test", UndeliverableDomain, 60), ("broken.test", Unavailable, 5)):
        for _ in range(2):
            with pytest.raises(error):
                await lookup.exchangers(domain)
        asked = server.asked[domain, "MX"]
        server.zone[domain] = {"MX": ["1 mx1.example.test."]}
        clock.now += hold + 1
        assert len(await lookup.exchangers(domain)) == 1
        assert server.asked[domain, "MX"] == asked + 1


async def test_the_same_question_is_asked_once_at_a_time(
    lookup: DnsExchangerLookup, server: DnsServer
) -> None:
    results = await asyncio.gather(*(lookup.exchangers("example.test") for _ in range(20)))
    assert len(results) == 20
    assert server.asked["example.test", "MX"] == 1


async def test_who_gives_up_does_not_take_the_answer_from_others(lookup: DnsExchangerLookup) -> None:
    impatient = asyncio.create_task(lookup.exchangers("example.test"))
    patient = asyncio.create_task(lookup.exchangers("example.test"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert len(await patient) == 2


async def test_keeps_no_more_answers_than_allowed(server: DnsServer, clock: Clock) -> None:
    lookup = DnsExchangerLookup({}, server.servers, entries=2, clock=clock)
    for domain in ("example.test", "plain.test", "six.test", "plain.test", "example.test"):
        await lookup.exchangers(domain)
    assert server.asked["plain.test", "MX"] == 1
    assert server.asked["example.test", "MX"] == 2


async def test_the_search_list_is_for_routes_not_for_what_an_mx_says() -> None:
    zone: Zone = {
        "tenant.test": {"MX": ["0 redis."]},
        "redis.cluster.test": {"A": ["10.96.0.12"]},
        "smarthost.cluster.test": {"A": ["127.0.0.2"]},
    }
    with DnsServer(zone) as server:
        lookup = DnsExchangerLookup({"*": Exchanger(0, "smarthost")}, server.servers)
        lookup._resolver.search = [dns.name.from_text("cluster.test.")]
        assert await lookup.addresses("smarthost") == ("127.0.0.2",)
        assert await lookup.addresses("redis") == ()
