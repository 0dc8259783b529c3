"""How many connections are let in."""

from edge_smtp.inbound.admission import Admission


def test_there_is_room_for_so_many_and_again_when_one_has_left() -> None:
    admission = Admission(2, 2)
    first = admission.enter("192.0.2.1")
    assert first
    assert admission.enter("192.0.2.2")
    assert admission.enter("192.0.2.3") is None
    admission.leave(first)
    assert admission.enter("192.0.2.3")


def test_one_client_leaves_room_for_others() -> None:
    admission = Admission(10, 1)
    assert admission.enter("192.0.2.1")
    assert admission.enter("192.0.2.1") is None
    assert admission.enter("::ffff:192.0.2.1") is None
    assert admission.enter("192.0.2.2")


def test_the_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    admission = Admission(10, 1)
    assert admission.enter("2001:db8::1")
    assert admission.enter("2001:db8::ffff:1") is None
    assert admission.enter("2001:db8:0:1::1")
    assert admission.enter("fe80::1%eth0")


def test_what_has_left_is_forgotten() -> None:
    admission = Admission(10, 1)
    for number in range(100):
        client = admission.enter(f"192.0.2.{number}")
        assert client
        admission.leave(client)
    assert not admission._open
