"""For which addresses reports are taken: ours, and not one that is almost ours."""

import random
import string
from contextlib import suppress

import pytest

from edge_smtp.inbound.mailboxes import Mailboxes, NoSuchMailbox
from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import ReportRecipient, ReportRole
from kannon.core.return_path import KEY_ID, Use, mint
from tests.inbound_harness import KEY, NOW, return_path

MAILBOXES = Mailboxes({KEY_ID: KEY}, ["mx.example.com", "Mail.example.com"], ["FBL@feedback.example.com"])
OF_SEVEN = ReportRecipient(ReportRole.RETURN_PATH, "mail.example.com", DeliveryId(42, 7))


def test_a_return_path_names_its_delivery_in_whatever_case_it_comes() -> None:
    address = return_path()
    for written in (address, address.upper(), address.title(), address.swapcase()):
        assert MAILBOXES.find(written, NOW) == OF_SEVEN


def test_two_domains_have_their_own_return_paths() -> None:
    first, second = return_path(domain="a.example"), return_path(domain="b.example")
    assert MAILBOXES.find(second, NOW).domain == "b.example"
    for stolen in (first.replace("@a.", "@b."), second.replace("@b.", "@a.")):
        with pytest.raises(NoSuchMailbox, match="domain"):
            MAILBOXES.find(stolen, NOW)


@pytest.mark.parametrize(
    "address",
    [
        return_path(days=-1),
        mint(bytes(32), KEY_ID, 42, 7, NOW.replace(year=2027), "mail.example.com"),
        mint(KEY, 2, 42, 7, NOW.replace(year=2027), "mail.example.com"),
        return_path()[:-20] + "@mail.example.com",
        return_path().replace("bounce+", "bounce-"),
        return_path().replace("bounce+", "bounce+bounce+"),
        f'"{return_path().partition("@")[0]}"@mail.example.com',
        return_path().partition("@")[0],
        return_path() + ".",
        f"{return_path()}@mx.example.com",
        return_path().replace("@", "%"),
        "bump_YWRhQGV4YW1wbGUubmV0+msg_1@mail.example.com",
        "bounce+@mail.example.com",
        "bounce@mail.example.com",
        "hello@mail.example.com",
        "postmaster@example.com",
        "postmaster@other.example",
        "abuse@feedback.example.com",
        "ab\u017fe@mail.example.com",
        "root",
        "@mx.example.com",
        "",
        "@",
    ],
)
def test_nothing_is_taken_for_what_is_forged_foreign_expired_or_old(address: str) -> None:
    with pytest.raises(NoSuchMailbox):
        MAILBOXES.find(address, NOW)


@pytest.mark.parametrize(
    ("address", "role", "domain"),
    [
        ("postmaster", ReportRole.POSTMASTER, "mx.example.com"),
        ("Postmaster@MX.example.com", ReportRole.POSTMASTER, "mx.example.com"),
        ("abuse@mail.example.com", ReportRole.ABUSE, "mail.example.com"),
        ("fbl@feedback.example.com", ReportRole.FEEDBACK, "feedback.example.com"),
    ],
)
def test_other_mailboxes_are_those_that_are_set_up(address: str, role: ReportRole, domain: str) -> None:
    assert MAILBOXES.find(address, NOW) == ReportRecipient(role, domain)


def test_where_it_is_set_up_readers_unsubscribe_by_mail_and_by_no_address_that_is_for_reports() -> None:
    address = mint(KEY, KEY_ID, 42, 7, NOW.replace(year=2027), "mail.example.com", Use.UNSUBSCRIBING)
    taking = Mailboxes({KEY_ID: KEY}, [], [], unsubscribing=True)
    assert len(address.partition("@")[0]) <= 64
    assert taking.find(address.upper(), NOW) == ReportRecipient(
        ReportRole.UNSUBSCRIBE, "mail.example.com", DeliveryId(42, 7)
    )
    assert taking.find(return_path(), NOW) == OF_SEVEN
    for other in (address.replace("unsub+", "bounce+"), return_path().replace("bounce+", "unsub+")):
        with pytest.raises(NoSuchMailbox, match="another use"):
            taking.find(other, NOW)
    with pytest.raises(NoSuchMailbox, match="nobody unsubscribes"):
        MAILBOXES.find(address, NOW)


def test_of_ten_thousand_changed_return_paths_none_is_taken() -> None:
    chance = random.Random(20260301)
    alphabet = string.ascii_lowercase + string.digits + "+=-._@/"
    genuine = return_path()
    taken, tried = [], 0
    while tried < 10_000:
        address = list(genuine)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(address))
            match chance.randrange(4):
                case 0:
                    address[at] = chance.choice(alphabet)
                case 1:
                    del address[at]
                case 2:
                    address.insert(at, chance.choice(alphabet))
                case _:
                    other = chance.randrange(len(address))
                    address[at], address[other] = address[other], address[at]
        changed = "".join(address)
        if changed == genuine:
            continue
        tried += 1
        with suppress(NoSuchMailbox):
            taken.append((changed, MAILBOXES.find(changed, NOW)))
    assert taken == []
