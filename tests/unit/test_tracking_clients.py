"""Whose request it is, through proxies that are trusted and headers that are not."""

import pytest

from kannon.core.exchangers import parse_networks
from kannon.core.tracking.clients import Proxies

PROXIES = Proxies(parse_networks("10.0.0.0/8,fd00::/8,127.0.0.1/32"))
PEER = "10.0.0.1"


def client(peer: str = PEER, **headers: str) -> str:
    return PROXIES.client(peer, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("198.51.100.7, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:DB8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("junk, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, junk", PEER),
        ("203.0.113.9, junk, 10.0.0.3", "10.0.0.3"),
        ("", PEER),
        (",,,", PEER),
        ("<script>", PEER),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has(chain: str, expected: str) -> None:
    assert client(x_forwarded_for=chain) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ('for="[2001:db8::1]:4711";proto=https', "2001:db8::1"),
        ("proto=https;For=203.0.113.9", "203.0.113.9"),
        ("for=198.51.100.7, for=203.0.113.9;by=10.0.0.2, for=10.0.0.2", "203.0.113.9"),
        ("for=unknown", PEER),
        ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("proto=https", PEER),
    ],
)
def test_so_does_forwarded(header: str, expected: str) -> None:
    assert client(forwarded=header) == expected


def test_where_both_headers_are_and_differ_neither_counts() -> None:
    assert client(x_forwarded_for="203.0.113.9", forwarded="for=198.51.100.7") == PEER
    assert client(x_forwarded_for="203.0.113.9", forwarded="for=203.0.113.9") == "203.0.113.9"


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::5", "11.0.0.1", ""])
def test_a_peer_that_is_no_trusted_proxy_is_the_client(peer: str) -> None:
    assert client(peer, x_forwarded_for="203.0.113.9", forwarded="for=203.0.113.9") == peer


def test_a_proxy_by_ipv4_within_ipv6_is_the_same_proxy() -> None:
    assert client("::ffff:10.0.0.1", x_forwarded_for="203.0.113.9") == "203.0.113.9"


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert Proxies(()).client(PEER, {"x-forwarded-for": "203.0.113.9"}) == PEER
