"""Calls that may be repeated: what counts as the same call, and what it is told."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.attachments import AttachmentDesk, AttachmentLimits
from api_gateway.bodies import Bodies
from api_gateway.endpoints import Call
from api_gateway.idempotency import ContentHash, check_key
from api_gateway.mailer import Mailer
from api_gateway.send_request import SendRequest
from api_gateway.sender_rule import SenderRule
from api_gateway.suppressed_recipients import SuppressedRecipients
from api_gateway.tracking import Ceilings
from kannon.adapters.pb.mailer_pb2 import Attachment, SendHTMLReq, SendTemplateReq
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from kannon.core.batches import KEYS_KEPT_FOR
from kannon.core.errors import BadInput, Conflict
from tests.fakes_gateway import FakeDirectory, FakeIntake, FakeTemplates
from tests.fakes_store import FakeAttachmentUses
from tests.fakes_suppressions import FakeSuppressions

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SEND_HTML = "pkg.kannon.mailer.apiv1.Mailer/SendHTML"
MAIL = SendHTMLReq(
    sender=Sender(email="news@example.com", alias="News"),
    subject="Hello",
    html="<p>Hello {{ name }}</p>",
    global_fields={"a": "1", "b": "2"},
    recipients=[Recipient(email="ada@example.org", fields={"name": "Ada"}), Recipient(email="none")],
)
CHANGES = [
    SendHTMLReq(sender=Sender(alias="Other")),
    SendHTMLReq(subject="Other"),
    SendHTMLReq(html="Other"),
    SendHTMLReq(scheduled_time=Timestamp(seconds=1)),
    SendHTMLReq(global_fields={"b": "3"}),
    SendHTMLReq(attachments=[Attachment(filename="a.txt")]),
    SendHTMLReq(recipients=[Recipient(email="bob@example.org")]),
]


def hash_of(request: SendRequest, procedure: str = SEND_HTML) -> bytes:
    content = ContentHash(procedure, request)
    for attachment in request.attachments:
        content.add(attachment)
    for recipient in request.recipients:
        content.add(recipient)
    return content.digest()


def changed(change: SendHTMLReq) -> SendHTMLReq:
    request = SendHTMLReq()
    request.CopyFrom(MAIL)
    request.MergeFrom(change)
    return request


class Announcements:
    """An announcer that only notes what it is to announce."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def announce(self, batch: int, addresses: object, traceparent: str) -> None:
        self.batches.append(batch)


class Gateway:
    """A Mailer with all that it needs, in memory."""

    def __init__(self) -> None:
        self.intake, self.templates, self.announced, self.now = (
            FakeIntake(),
            FakeTemplates(),
            Announcements(),
            NOW,
        )
        self.mailer = Mailer(
            self.intake,
            Bodies(self.templates),
            self.announced,  # type: ignore[arg-type]
            SenderRule(FakeDirectory(), lambda name: "." not in name),
            SuppressedRecipients(FakeSuppressions(), lambda: self.now),
            Ceilings(FakeDirectory()),
            lambda: self.now,
            timedelta(days=1),
            AttachmentDesk(None, FakeAttachmentUses(), AttachmentLimits(10**6, 10**7)),
        )

    async def send(self, request: SendHTMLReq, key: str = "", domain: str = "example.com") -> str:
        """Send, and give the Batch's name."""
        return (await self.mailer.send_html(request, Call(SEND_HTML, "", domain, key))).message_id


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.ListFields()[0][0].name)
def test_whatever_is_asked_for_otherwise_is_another_call(change: SendHTMLReq) -> None:
    assert hash_of(changed(change)) != hash_of(MAIL)


def test_the_order_of_recipients_counts_and_where_one_ends_too() -> None:
    one, two = Recipient(email="a@b.test"), Recipient(email="c@d.test")
    assert hash_of(SendHTMLReq(recipients=[one, two])) != hash_of(SendHTMLReq(recipients=[two, one]))
    assert hash_of(SendHTMLReq(recipients=[Recipient(), one])) != hash_of(SendHTMLReq(recipients=[one]))


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=20), st.randoms())
def test_maps_may_be_written_in_any_order(fields: dict[str, str], order: Random) -> None:
    shuffled = list(fields.items())
    order.shuffle(shuffled)

    def request(items: dict[str, str]) -> SendHTMLReq:
        return SendHTMLReq(global_fields=items, recipients=[Recipient(email="a@b.test", fields=items)])

    assert hash_of(request(fields)) == hash_of(request(dict(shuffled)))


def test_the_same_request_of_another_procedure_is_another_call() -> None:
    assert hash_of(MAIL) != hash_of(MAIL, "pkg.kannon.mailer.apiv1.Mailer/SendTemplate")
    assert hash_of(SendHTMLReq(html="x")) != hash_of(SendTemplateReq(template_id="x"), "other")


@pytest.mark.parametrize("key", ["x" * 256, "ключ", "a\tb", "a\nb", "\x7f"])
def test_a_key_is_printable_ascii_of_some_length(key: str) -> None:
    with pytest.raises(BadInput, match=r"^idempotency-key: must be 1 to 255 printable ASCII characters$"):
        check_key(key)


@pytest.mark.parametrize("key", ["x", "x" * 255, "import 7, row ~1", " "])
def test_most_keys_will_do(key: str) -> None:
    check_key(key)


async def test_a_call_repeated_under_its_key_has_one_batch_and_one_answer(gateway: Gateway) -> None:
    first = await gateway.send(MAIL, "key")
    gateway.now += timedelta(hours=23)
    assert await gateway.send(MAIL, "key") == first
    assert len(gateway.intake.batches) == 1
    assert gateway.announced.batches == [1]


async def test_without_a_key_a_call_repeated_is_another_batch(gateway: Gateway) -> None:
    assert await gateway.send(MAIL) != await gateway.send(MAIL)


async def test_another_call_under_the_key_is_refused(gateway: Gateway) -> None:
    await gateway.send(MAIL, "key")
    with pytest.raises(Conflict, match=r"^idempotency-key: "):
        await gateway.send(changed(CHANGES[0]), "key")
    assert len(gateway.intake.batches) == 1


async def test_keys_are_a_domains_own_and_end(gateway: Gateway) -> None:
    sender = changed(SendHTMLReq(sender=Sender(email="a@example.org")))
    first = await gateway.send(MAIL, "key")
    assert await gateway.send(sender, "key", "example.org") != first
    gateway.now += KEYS_KEPT_FOR
    assert await gateway.send(MAIL, "key") != first


async def test_a_call_that_is_refused_keeps_no_key(gateway: Gateway) -> None:
    wrong = changed(SendHTMLReq(subject="\r\n"))
    for _ in range(2):
        with pytest.raises(BadInput, match="subject"):
            await gateway.send(wrong, "key")
    assert await gateway.send(MAIL, "key")


async def test_the_loser_of_two_calls_at_once_gets_the_winners_answer(gateway: Gateway) -> None:
    first = await gateway.send(MAIL, "key")
    looked_up = gateway.intake.answers.pop(("example.com", "key"))
    accept = gateway.intake.accept

    async def after_the_winner(*arguments: object) -> object:
        gateway.intake.answers["example.com", "key"] = looked_up
        return await accept(*arguments)  # type: ignore[arg-type]

    gateway.intake.accept = after_the_winner  # type: ignore[method-assign, assignment]
    assert await gateway.send(MAIL, "key") == first
    assert gateway.announced.batches == [1]
