"""How often a call asks for suppressed addresses, and for how many."""

from datetime import timedelta

from api_gateway.bodies import Bodies, GivenBody
from api_gateway.send_request import RecipientReader, read_content
from api_gateway.suppressed_recipients import ADDRESSES_AT_ONCE, SuppressedRecipients
from kannon.adapters.pb.mailer_pb2 import SendHTMLReq, SendRes
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from kannon.core.suppression import Reason, Source, Suppression
from kannon.core.tracking.policy import DEFAULT_POLICY
from tests.fakes_gateway import FakeTemplates
from tests.fakes_suppressions import FakeSuppressions
from tests.mail import DOMAIN, NOW


async def answer_of(store: FakeSuppressions, *addresses: str) -> SendRes:
    request = SendHTMLReq(sender=Sender(email=f"a@{DOMAIN}"), html="x")
    content = read_content(
        request, await Bodies(FakeTemplates()).given(GivenBody("x")), DEFAULT_POLICY, NOW, timedelta(days=1)
    )
    reader = RecipientReader(content.rules, content.tracking)
    recipients = [Recipient(email=address) for address in addresses]
    for recipient in recipients:
        reader.read(recipient)
    await SuppressedRecipients(store, lambda: NOW).refuse(reader, recipients, DOMAIN)
    assert len(reader.taken) + len(reader.answer.rejected_recipients) == len(addresses)
    return reader.answer


def many(count: int) -> list[str]:
    return [f"r{number}@example.org" for number in range(count)]


def suppressed(*addresses: str) -> FakeSuppressions:
    store = FakeSuppressions()
    store.write(
        [Suppression(DOMAIN, one, Reason.MANUAL, Source.OPERATOR, NOW, None) for one in addresses], NOW
    )
    return store


async def test_a_small_call_asks_once() -> None:
    store = suppressed("r0@example.org")
    answer = await answer_of(store, *many(3))
    assert store.asked == [3]
    assert [one.email for one in answer.rejected_recipients] == ["r0@example.org"]


async def test_a_large_call_of_a_domain_without_suppressions_asks_for_no_address() -> None:
    store = FakeSuppressions()
    await answer_of(store, *many(3 * ADDRESSES_AT_ONCE))
    assert store.asked == []


async def test_a_large_call_asks_piece_by_piece() -> None:
    last = f"r{2 * ADDRESSES_AT_ONCE}@example.org"
    store = suppressed("r0@example.org", last)
    answer = await answer_of(store, *many(2 * ADDRESSES_AT_ONCE + 1))
    assert store.asked == [ADDRESSES_AT_ONCE, ADDRESSES_AT_ONCE, 1]
    assert [one.email for one in answer.rejected_recipients] == ["r0@example.org", last]


async def test_whoever_is_suppressed_is_so_in_every_spelling() -> None:
    answer = await answer_of(
        suppressed("ada@xn--bcher-kva.example"), "Ada@bücher.example", "ADA@xn--bcher-kva.example"
    )
    assert [(one.email, one.reason) for one in answer.rejected_recipients] == [
        ("Ada@bücher.example", "suppressed"),
        ("ADA@xn--bcher-kva.example", "suppressed"),
    ]


async def test_nobody_is_asked_for_where_nobody_is_left() -> None:
    store = FakeSuppressions()
    await answer_of(store)
    assert store.asked == []
