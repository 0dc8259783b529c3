"""SendHTML calls, read: what is taken, what is refused, and how that is said."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from api_gateway.bodies import MAX_HTML_KB, Chosen, GivenBody, checked_body
from api_gateway.field_rules import MAX_HEADER_CHARACTERS, FieldRules
from api_gateway.send_request import (
    MAX_RECIPIENTS,
    Content,
    RecipientReader,
    TakenRecipients,
    new_batch,
    read_content,
)
from api_gateway.timestamps import write_timestamp
from api_gateway.tracking import TrackingRules
from kannon.adapters.pb.mailer_pb2 import SendHTMLReq, SendTemplateReq
from kannon.adapters.pb.types_pb2 import Headers, OneClickUnsubscribe, Recipient, Sender
from kannon.core.batch_options import AddedHeaders, BatchOptions
from kannon.core.batches import Body, NewRecipient
from kannon.core.errors import BadInput
from kannon.core.tracking.policy import DEFAULT_POLICY

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
BUDGET = timedelta(days=1)
UNRESTRICTED = TrackingRules(DEFAULT_POLICY, SendHTMLReq())
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BREAKS = ["\r", "\n", "\0", "Hi\r\nBcc: x@y.test"]


def call(**changes: object) -> SendHTMLReq:
    request = SendHTMLReq(
        sender=Sender(email="news@example.com", alias="News"),
        subject="Hello {{ name }}",
        html="<p>Hello {{ name }}</p>",
        recipients=[Recipient(email="ada@example.org", fields={"name": "Ada"})],
    )
    for name, value in changes.items():
        request.ClearField(name)  # type: ignore[arg-type]
        request.MergeFrom(SendHTMLReq(**{name: value}))  # type: ignore[arg-type]
    return request


def content_of(request: SendHTMLReq) -> Content:
    return read_content(
        request, Chosen("", *checked_body(GivenBody(request.html))), DEFAULT_POLICY, NOW, BUDGET
    )


def refusal(request: SendHTMLReq) -> str:
    with pytest.raises(BadInput) as caught:
        content_of(request)
    return str(caught.value)


def read(*recipients: Recipient, subject: str = "", html: str = "x") -> RecipientReader:
    reader = RecipientReader(FieldRules(subject, checked_body(GivenBody(html))[1], {}), UNRESTRICTED)
    for recipient in recipients:
        reader.read(recipient)
    return reader


def taken(*recipients: Recipient, **texts: str) -> list[NewRecipient]:
    return list(TakenRecipients(recipients, read(*recipients, **texts).taken, UNRESTRICTED))


def test_a_whole_call() -> None:
    request = call(global_fields={"city": "Rome"})
    content = content_of(request)
    reader = RecipientReader(content.rules, content.tracking)
    reader.read(request.recipients[0])
    recipients = TakenRecipients(request.recipients, reader.taken, content.tracking)
    batch = new_batch(content, recipients, "example.com", "abc", "00-trace")
    assert (batch.message_id, batch.template_id) == ("msg_abc@example.com", "abc@example.com")
    assert (batch.sender_email, batch.sender_alias) == ("news@example.com", "News")
    assert (batch.subject, batch.body) == (request.subject, Body(request.html, "Hello {{ name }}"))
    assert batch.global_fields == {"city": "Rome"}
    assert (batch.scheduled_at, batch.expires_at) == (NOW, NOW + BUDGET)
    assert list(batch.recipients) == [NewRecipient("ada@example.org", {"name": "Ada"})]
    assert batch.traceparent == "00-trace"


@pytest.mark.parametrize(
    "email", ["", "news", "news@localhost", "News <news@example.com>", "a\n@example.com"]
)
def test_the_sender_must_be_an_address(email: str) -> None:
    assert refusal(call(sender=Sender(email=email))).startswith("sender.email: ")
    assert refusal(SendHTMLReq(html="x")).startswith("sender.email: ")


def test_headers_and_options_are_kept_with_the_batch() -> None:
    request = call(
        headers=Headers(
            to=["a@b.test"], cc=["c@d.test"], reply_to="e@f.test", custom={"X-B": "2", "X-A": "1"}
        ),
        one_click_unsubscribe=OneClickUnsubscribe(url_template="https://example.com/{{ email }}"),
    )
    assert new_batch(content_of(request), (), "example.com", "abc", "").options == BatchOptions(
        AddedHeaders(
            to=("a@b.test",),
            cc=("c@d.test",),
            reply_to="e@f.test",
            custom=(("X-A", "1"), ("X-B", "2")),
            unsubscribe_url="https://example.com/{{ email }}",
        )
    )
    hosted = call(one_click_unsubscribe=OneClickUnsubscribe(hosted=True))
    assert content_of(hosted).headers == AddedHeaders(hosted_unsubscribe=True)
    assert content_of(call(headers=Headers())).headers == AddedHeaders()


@pytest.mark.parametrize(
    "asked", [OneClickUnsubscribe(), OneClickUnsubscribe(url_template="https://a.test/", hosted=True)]
)
def test_one_way_to_unsubscribe_is_needed(asked: OneClickUnsubscribe) -> None:
    assert refusal(call(one_click_unsubscribe=asked)).startswith("one_click_unsubscribe: ")


def test_recipients_who_could_not_unsubscribe_are_refused_alone() -> None:
    asked = OneClickUnsubscribe(url_template="https://example.com/{{ token }}/{{ list }}")
    request = call(one_click_unsubscribe=asked, global_fields={"list": "news"})
    content = content_of(request)
    reader = RecipientReader(content.rules, content.tracking)
    for recipient in (Recipient(email="a@b.test"), Recipient(email="c@d.test", fields={"token": ""})):
        reader.read(recipient)
    assert list(reader.taken) == ["c@d.test"]
    (refused,) = reader.answer.rejected_recipients
    assert (refused.email, refused.reason) == ("a@b.test", "unsubscribe_url_unresolved")


@pytest.mark.parametrize(
    ("global_fields", "fields", "place"),
    [
        ({}, {"help": "nobody"}, "recipients[0].fields.help: "),
        ({"help": "nobody"}, {}, "global_fields.help: "),
        ({}, {}, "recipients[0].fields.help: "),
        ({"help": "x@y.test"}, {"more": "a\r\nb"}, "recipients[0].fields.more: "),
        ({"help": "x@y.test"}, {"more": "😀" * 900, "much": "😀" * 999}, "recipients[0]: headers: "),
    ],
)
def test_values_that_headers_cannot_have_are_named(
    global_fields: dict[str, str], fields: dict[str, str], place: str
) -> None:
    headers = Headers(reply_to="{{ help }}", custom={"X-A": "{{ more }}", "X-B": "{{ much }}"})
    content = content_of(call(headers=headers, subject="", html="x", global_fields=global_fields))
    reader = RecipientReader(content.rules, content.tracking)
    with pytest.raises(BadInput) as caught:
        reader.read(Recipient(email="a@b.test", fields=fields))
    assert str(caught.value).startswith(place)


def test_the_senders_domain_is_kept_in_a_labels() -> None:
    content = content_of(call(sender=Sender(email="News@Bücher.example")))
    batch = new_batch(content, (), "xn--bcher-kva.example", "abc", "")
    assert batch.sender_email == "News@xn--bcher-kva.example"


@pytest.mark.parametrize("value", BREAKS)
def test_headers_are_not_broken(value: str) -> None:
    assert "sender.alias" in refusal(call(sender=Sender(email="a@example.com", alias=value)))
    assert "subject" in refusal(call(subject=value))
    assert "global_fields.name" in refusal(call(global_fields={"name": value}))
    with pytest.raises(BadInput, match=r"recipients\[1\]\.fields\.name"):
        read(
            Recipient(email="a@b.test"),
            Recipient(email="c@d.test", fields={"name": value}),
            subject="{{ name }}",
        )


def test_fields_that_stand_in_no_header_may_have_lines() -> None:
    request = call(subject="Hello", global_fields={"name": "one\r\ntwo"})
    assert content_of(request).global_fields == {"name": "one\r\ntwo"}
    lines = {"name": "one\ntwo"}
    assert taken(Recipient(email="a@b.test", fields=lines)) == [NewRecipient("a@b.test", lines)]


def test_nul_cannot_be_stored() -> None:
    assert "html" in refusal(call(html="<p>\0</p>"))
    assert "global_fields.other" in refusal(call(global_fields={"other": "\0"}))
    assert "global_fields.a" in refusal(call(global_fields={"a\0b": ""}))
    with pytest.raises(BadInput, match=r"recipients\[0\]\.fields\.other"):
        read(Recipient(email="a@b.test", fields={"other": "x\0"}))


@given(alias=TEXT, subject=TEXT, value=TEXT)
@example(alias="\x85", subject="\u2028{{name}}", value="\v")
def test_whatever_passes_cannot_break_a_header(alias: str, subject: str, value: str) -> None:
    request = call(
        sender=Sender(email="a@example.com", alias=alias),
        subject=subject + "{{ name }}",
        global_fields={"name": value},
    )
    try:
        content = content_of(request)
    except BadInput:
        assert set("\r\n\0") & set(alias + subject + value) or len(subject) > MAX_HEADER_CHARACTERS - 10
    else:
        assert not set("\r\n\0") & set(content.alias + content.subject + content.global_fields["name"])


@given(TEXT)
@example("a@b.test\nBcc: c@d.test")
@example('"a b"@c.test')
def test_whatever_recipient_is_taken_is_an_address(text: str) -> None:
    reader = read(Recipient(email=text))
    assert len(reader.taken) + len(reader.answer.rejected_recipients) == 1
    for address in reader.taken:
        assert address.count("@") == 1
        assert not set("\r\n\0 <>") & set(address)


@given(st.lists(TEXT), TEXT)
def test_fields_are_stored_or_refused(names: list[str], value: str) -> None:
    fields = dict.fromkeys(names, value)
    try:
        found = taken(Recipient(email="a@b.test", fields=fields))
    except BadInput:
        assert any("\0" in text for text in (*names, value))
    else:
        assert found == [NewRecipient("a@b.test", fields)]


def test_html_has_a_limit() -> None:
    assert "html" in refusal(call(html=""))
    most = MAX_HTML_KB * 1024
    assert content_of(call(html="<" + "x" * (most - 1))).chosen.body
    assert f"{MAX_HTML_KB} KB" in refusal(call(html="<" + "x" * most))
    assert f"{MAX_HTML_KB} KB" in refusal(call(html="ä" * (most // 2) + "x"))


def test_headers_have_a_limit() -> None:
    assert "subject" in refusal(call(subject="x" * (MAX_HEADER_CHARACTERS + 1)))
    assert "alias" in refusal(call(sender=Sender(email="a@example.com", alias="x" * 1001)))


def test_a_refusals_text_does_not_repeat_long_names() -> None:
    assert len(refusal(call(global_fields={"x" * 5000: "\0"}))) < 200


def test_bad_and_repeated_recipients_are_refused_alone() -> None:
    addresses = [
        "a@b.test",
        "no address",
        "A@b.test",
        "a@B.TEST",
        "a@b.test",
        "x@bücher.test",
        "x@xn--bcher-kva.test",
    ]
    reader = read(*(Recipient(email=address) for address in addresses))
    assert list(reader.taken) == ["a@b.test", "A@b.test", "x@bücher.test"]
    assert [(refused.email, refused.reason) for refused in reader.answer.rejected_recipients] == [
        ("no address", "invalid_email"),
        ("a@B.TEST", "duplicate_recipient"),
        ("a@b.test", "duplicate_recipient"),
        ("x@xn--bcher-kva.test", "duplicate_recipient"),
    ]


def test_the_fields_of_a_refused_recipient_fail_nobody() -> None:
    reader = read(Recipient(email="none", fields={"name": "\0"}), Recipient(email="a@b.test"))
    assert len(reader.taken) == len(reader.answer.rejected_recipients) == 1


def test_recipients_are_numbered_as_they_stand_in_the_call() -> None:
    recipients = [Recipient(email=f"{i}@b.test") for i in (0, 1, 1)]
    with pytest.raises(BadInput, match=r"recipients\[3\]"):
        read(*recipients, Recipient(email="3@b.test", fields={"a": "\0"}))


def test_a_refused_recipient_does_not_shift_the_others() -> None:
    recipients = [Recipient(email="none", fields={"n": "0"}), Recipient(email="a@b.test", fields={"n": "1"})]
    assert taken(*recipients) == [NewRecipient("a@b.test", {"n": "1"})]


def test_recipients_have_a_limit() -> None:
    request = call()
    request.recipients.extend([Recipient(email="a@b.test")] * (MAX_RECIPIENTS - 1))
    assert content_of(request)
    request.recipients.add(email="a@b.test")
    assert refusal(request) == "recipients: must not be more than 250000 in one call"


def test_a_stored_body_is_sent_by_the_name_it_was_asked_for() -> None:
    _, compiled = checked_body(GivenBody("<p>x</p>"))
    request = SendTemplateReq(sender=Sender(email="a@example.com"), template_id="t@example.com")
    content = read_content(request, Chosen("t@example.com", 7, compiled), DEFAULT_POLICY, NOW, BUDGET)
    batch = new_batch(content, (), "example.com", "abc", "")
    assert (batch.message_id, batch.template_id, batch.body) == ("msg_abc@example.com", "t@example.com", 7)


def test_times() -> None:
    def scheduled(at: datetime) -> datetime:
        return content_of(call(scheduled_time=write_timestamp(at))).scheduled_at

    assert scheduled(NOW + BUDGET) == NOW + BUDGET
    assert scheduled(NOW - BUDGET) == NOW
    assert scheduled(datetime(1, 1, 1, tzinfo=UTC)) == NOW


@pytest.mark.parametrize(
    "at",
    [
        Timestamp(seconds=2**62),
        Timestamp(seconds=-(2**62)),
        Timestamp(nanos=2_000_000_000),
        Timestamp(nanos=-1),
        Timestamp(seconds=253402300799),  # its Retry Budget would end in the year 10000
    ],
)
def test_times_out_of_range(at: Timestamp) -> None:
    assert refusal(call(scheduled_time=at)).startswith("scheduled_time: ")


def test_more_fields_than_can_be_looked_through_are_refused() -> None:
    many = {f"f{number}": "x" for number in range(1001)}
    assert refusal(call(global_fields=many)) == "global_fields: must not be more than 1000"
    with pytest.raises(BadInput, match=r"recipients\[0\].fields: must not be more than 1000"):
        read(Recipient(email="a@b.test", fields=many))
