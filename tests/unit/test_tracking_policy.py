"""Tracking Policies: what holds when Domain, Batch and Recipient each state something."""

from itertools import product

import pytest

from api_gateway.bodies import GivenBody, checked_body
from api_gateway.field_rules import FieldRules
from api_gateway.send_request import RecipientReader, TakenRecipients
from api_gateway.tracking import Ceilings, TrackingRules, read_policy, write_policy
from kannon.adapters.pb.mailer_pb2 import RejectedRecipient, SendHTMLReq
from kannon.adapters.pb.tracking_pb2 import TrackingMode, TrackingPolicy
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.errors import BadInput
from kannon.core.tracking.policy import (
    DEFAULT_POLICY,
    UNSTATED,
    UNTRACKED,
    AboveCeiling,
    Mode,
    Policy,
    Stated,
    narrowed,
)
from tests.fakes_gateway import FakeDirectory

OFF, ANONYMOUS, PSEUDONYMOUS, IDENTIFIED, FULL = Mode
ALL = list(Mode)
STATED = [None, *ALL]


def stated(opens: int | None = None, links: int | None = None) -> TrackingPolicy:
    return TrackingPolicy(opens=TrackingMode.ValueType(opens or 0), links=TrackingMode.ValueType(links or 0))


def resolved(domain: Policy, batch: TrackingPolicy | None, recipient: TrackingPolicy | None) -> Policy | str:
    """What holds for one Recipient, or why it is refused."""
    rules = TrackingRules(domain, SendHTMLReq(tracking=batch))
    reader = RecipientReader(FieldRules("", checked_body(GivenBody("x"))[1], {}), rules)
    given = [Recipient(email="a@b.test", tracking=recipient)]
    reader.read(given[0])
    if reader.answer.rejected_recipients:
        return reader.answer.rejected_recipients[0].reason
    (taken,) = TakenRecipients(given, reader.taken, rules)
    return taken.tracking or rules.policy


def test_the_modes_are_ordered_and_have_the_numbers_of_the_wire() -> None:
    assert OFF < ANONYMOUS < PSEUDONYMOUS < IDENTIFIED < FULL
    assert {f"TRACKING_MODE_{mode.name}": mode.value for mode in Mode} == {
        name: number for name, number in TrackingMode.items() if number
    }


@pytest.mark.parametrize("channel", ["opens", "links"])
@pytest.mark.parametrize("domain", ALL)
def test_every_mode_at_every_level(channel: str, domain: Mode) -> None:
    """What is not asked for stays as the Domain has it, whatever is asked of the other channel."""
    ceiling = Policy(**({"opens": IDENTIFIED, "links": IDENTIFIED} | {channel: domain}))
    for batch, recipient in product(STATED, STATED):
        if batch is not None and batch > domain:
            with pytest.raises(BadInput, match=rf"^tracking\.{channel}: .*, which is {domain.name.lower()}$"):
                resolved(ceiling, stated(**{channel: batch}), stated(**{channel: recipient}))
            continue
        got = resolved(ceiling, stated(**{channel: batch}), stated(**{channel: recipient}))
        if recipient is not None and recipient > domain:
            assert got == "tracking_above_ceiling"
            continue
        wanted = min(mode for mode in (domain, batch, recipient) if mode is not None)
        assert got == Policy(**({"opens": IDENTIFIED, "links": IDENTIFIED} | {channel: wanted}))


def test_channels_do_not_touch_one_another() -> None:
    domain = Policy(FULL, ANONYMOUS)
    assert resolved(domain, stated(opens=IDENTIFIED), stated(links=OFF)) == Policy(IDENTIFIED, OFF)
    assert resolved(domain, None, stated(PSEUDONYMOUS, PSEUDONYMOUS)) == "tracking_above_ceiling"
    with pytest.raises(AboveCeiling, match="links"):
        narrowed(domain, Stated(FULL, IDENTIFIED), domain)


def test_who_states_nothing_is_tracked_as_the_level_above_says() -> None:
    assert narrowed(DEFAULT_POLICY, UNSTATED, DEFAULT_POLICY) == DEFAULT_POLICY
    for nothing in (None, TrackingPolicy()):
        assert resolved(Policy(FULL, OFF), nothing, nothing) == Policy(FULL, OFF)


def test_more_than_the_batch_but_not_than_the_domain_is_no_refusal_and_no_gain() -> None:
    assert resolved(Policy(FULL, FULL), stated(OFF, ANONYMOUS), stated(FULL, FULL)) == Policy(OFF, ANONYMOUS)


def test_a_recipient_that_is_as_its_batch_keeps_nothing_of_its_own() -> None:
    rules = TrackingRules(DEFAULT_POLICY, SendHTMLReq())
    assert rules.of(Recipient(tracking=stated(IDENTIFIED, IDENTIFIED))) is None
    assert rules.of(Recipient(tracking=stated(OFF))) == Policy(OFF, IDENTIFIED)


@pytest.mark.parametrize("number", [-1, 6, 9999])
@pytest.mark.parametrize("channel", ["opens", "links"])
def test_a_mode_that_nobody_knows(channel: str, number: int) -> None:
    unknown = stated(**{channel: number})
    assert resolved(Policy(FULL, FULL), None, unknown) == "unsupported_tracking_mode"
    text = rf"^tracking\.{channel}: there is no mode {number}, but off, "
    with pytest.raises(BadInput, match=text):
        resolved(Policy(FULL, FULL), unknown, None)
    with pytest.raises(BadInput, match=text):
        read_policy(unknown)


def test_the_first_thing_wrong_with_a_recipient_is_told() -> None:
    rules = TrackingRules(UNTRACKED, SendHTMLReq())
    reader = RecipientReader(FieldRules("", checked_body(GivenBody("x"))[1], {}), rules)
    for email, policy in [
        ("nobody", stated(9999)),
        ("a@b.test", stated(FULL)),
        ("a@b.test", None),
        ("a@b.test", stated(FULL)),
        ("c@d.test", stated(9999, FULL)),
    ]:
        reader.read(Recipient(email=email, tracking=policy))
    assert list(reader.answer.rejected_recipients) == [
        RejectedRecipient(email="nobody", reason="invalid_email"),
        RejectedRecipient(email="a@b.test", reason="tracking_above_ceiling"),
        RejectedRecipient(email="a@b.test", reason="duplicate_recipient"),
        RejectedRecipient(email="c@d.test", reason="unsupported_tracking_mode"),
    ]
    assert list(reader.taken) == ["a@b.test"]


def test_a_domains_policy_is_off_where_it_states_nothing() -> None:
    assert read_policy(stated(opens=ANONYMOUS)) == Policy(ANONYMOUS, OFF)
    assert read_policy(TrackingPolicy()) == UNTRACKED


@pytest.mark.parametrize("policy", [Policy(o, n) for o, n in product(ALL, ALL)], ids=repr)
def test_a_policy_is_written_so_that_it_is_read_again(policy: Policy) -> None:
    assert read_policy(write_policy(policy)) == policy
    assert Policy.of_digits(policy.digits) == policy
    assert 11 <= policy.digits <= 55


@pytest.mark.parametrize("digits", [0, 4, 16, 60, 444])
def test_other_digits_are_no_policy(digits: int) -> None:
    with pytest.raises(ValueError, match="Mode"):
        Policy.of_digits(digits)


async def test_a_domain_allows_what_it_says_at_the_moment() -> None:
    directory = FakeDirectory()
    await directory.add_domain("example.com", b"", "")
    assert await Ceilings(directory).of("example.com") == DEFAULT_POLICY
    await directory.set_tracking("example.com", Policy(OFF, FULL))
    assert await Ceilings(directory).of("example.com") == Policy(OFF, FULL)
    assert await Ceilings(directory).of("example.org") == UNTRACKED
