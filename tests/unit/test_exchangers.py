"""Where mail goes, and where it never goes."""

import pytest

from kannon.core.exchangers import (
    Exchanger,
    may_connect,
    parse_networks,
    parse_routes,
    route_for,
)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "64:ff9b:1::a00:1", "fec0::1", "::10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1", "5f00::1", "3fff::1",
        "192.88.99.1", "", "mx.example.com", "1.2.3", "127.1",
    ],
)  # fmt: skip
def test_an_exchanger_at_a_special_address_is_never_connected_to(address: str) -> None:
    assert not may_connect(address, ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450:4001::1a", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_connected_to(address: str) -> None:
    assert may_connect(address, ())


def test_what_a_setting_allows_is_connected_to_and_nothing_beside_it() -> None:
    allowed = parse_networks("127.0.0.0/8, ::1")
    assert may_connect("127.0.0.1", allowed)
    assert may_connect("::1", allowed)
    assert not may_connect("10.0.0.1", allowed)


def test_a_route_is_found_by_domain_before_the_one_for_all() -> None:
    routes = parse_routes("example.org=127.0.0.1:2525, *=smart.example.net")
    assert route_for(routes, "Example.ORG") == Exchanger(0, "127.0.0.1", 2525)
    assert route_for(routes, "example.com") == Exchanger(0, "smart.example.net", 25)
    assert route_for(parse_routes(""), "example.com") is None


@pytest.mark.parametrize(
    "text", ["example.org", "=host:25", "example.org=:25", "example.org=host:0", "a=h:99999"]
)
def test_a_route_of_another_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        parse_routes(text)
