"""What a connection speaks, by its first octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.grpc_server import name_for, peer_of
from api_gateway.preface import PREFACE, Speaks, spoken

ANY = st.binary(max_size=40) | st.builds(
    lambda length, rest: PREFACE[:length] + rest, st.integers(0, len(PREFACE)), st.binary(max_size=20)
)


@given(ANY)
def test_only_who_begins_as_every_client_of_http_2_does_speaks_it(octets: bytes) -> None:
    assert (spoken(octets) is Speaks.HTTP_2) is (octets[: len(PREFACE)] == PREFACE)


@given(ANY, st.data())
def test_what_was_said_at_first_holds_whatever_comes_then(octets: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(octets)))
    assert spoken(octets[:cut]) in (None, spoken(octets))


@given(ANY)
def test_nobody_is_waited_for_longer_than_the_preface_is(octets: bytes) -> None:
    if spoken(octets) is None:
        assert len(octets) < len(PREFACE)
        assert spoken(octets + PREFACE[len(octets) :]) is Speaks.HTTP_2


@pytest.mark.parametrize(
    "octets", [b"POST / HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n", b"PUT", b"\x16\x03\x01", b"\r"]
)
def test_all_others_are_told_at_the_first_octet_that_differs(octets: bytes) -> None:
    assert spoken(octets) is Speaks.ANYTHING_ELSE


@given(st.ip_addresses())
def test_a_clients_address_goes_with_its_connection(address: object) -> None:
    name = name_for(str(address), "0123456789abcdef")
    assert len(name) <= 108  # what sockets take (unix(7))
    from_grpc = "unix-abstract:" + name[1:].decode().replace("[", "%5B")
    assert peer_of(from_grpc) == str(address)


@pytest.mark.parametrize(
    ("address", "peer"),
    [("ipv4:192.0.2.1:4000", "192.0.2.1"), ("ipv6:%5B2001:db8::1%5D:4000", "2001:db8::1"), ("unix:", "")],
)
def test_who_comes_without_the_front_has_an_address_too(address: str, peer: str) -> None:
    assert peer_of(address) == peer
