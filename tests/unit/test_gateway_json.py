"""Requests in JSON, and what is done about those that are none."""

import json
import logging
from datetime import UTC, datetime

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.endpoints import Access, Call, Endpoint
from api_gateway.http.json_requests import LONGEST_REASON, parse_json, read_json
from api_gateway.large_calls import LARGE
from api_gateway.received import Received
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb.mailer_pb2 import Attachment, SendHTMLReq, SendRes
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from kannon.core.errors import BadInput

MAIL = SendHTMLReq(
    sender=Sender(email="a@k.test", alias="A"),
    subject="Hello",
    html="<p>Grüße</p>",
    scheduled_time=write_timestamp(datetime(2030, 1, 2, tzinfo=UTC)),
    recipients=[Recipient(email="b@example.org", fields={"name": "B"}), Recipient(email="c@example.org")],
    attachments=[Attachment(filename="x", content=b"\x00\xff")],
    global_fields={"recipients": "a field of this name is a text"},
)


def test_the_mapping_of_protobuf_by_both_names_of_fields() -> None:
    for own_names in (True, False):
        text = MessageToJson(MAIL, preserving_proto_field_name=own_names)
        assert read_json(SendHTMLReq, text.encode()) == (MAIL, set())


def test_a_recipient_may_be_its_address_alone() -> None:
    given_recipients = ["a@x.test", {"email": "b@x.test", "fields": {"n": "1"}}, "c@x.test"]
    message, unknown = read_json(SendHTMLReq, json.dumps({"recipients": given_recipients}).encode())
    assert list(message.recipients) == [  # type: ignore[attr-defined]
        Recipient(email="a@x.test"),
        Recipient(email="b@x.test", fields={"n": "1"}),
        Recipient(email="c@x.test"),
    ]
    assert unknown == set()


def test_only_a_recipient_may_be_a_text() -> None:
    with pytest.raises(BadInput, match="sender"):
        read_json(SendHTMLReq, b'{"sender": "a@x.test"}')


def test_nothing_at_all_is_an_empty_request() -> None:
    assert read_json(SendHTMLReq, b"") == (SendHTMLReq(), set())


async def test_unknown_fields_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    octets = json.dumps(
        {"subject": "x", "campaign": 1, "recipients": [{"email": "a@x.test", "tag": {}}], "x" * 500: 0}
    ).encode()
    with caplog.at_level(logging.INFO):
        message = await parse_json(_endpoint(), Received(octets))
    assert message == SendHTMLReq(subject="x", recipients=[Recipient(email="a@x.test")])
    (record,) = caplog.records
    assert vars(record)["fields"] == ["campaign", "tag", "x" * 100]


async def test_a_large_request_is_read_beside_the_loop() -> None:
    octets = json.dumps({"html": "x" * LARGE}).encode()
    assert await parse_json(_endpoint(), Received(octets)) == SendHTMLReq(html="x" * LARGE)


@pytest.mark.parametrize(
    "octets",
    [
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"subject": "a", "subject": "b"}',
        b'{"subject": 1}',
        b'{"subject": "\\ud800"}',
        b'{"recipients": {}}',
        b'{"recipients": [null]}',
        b'{"recipients": [1]}',
        b'{"recipients": "a@x.test"}',
        b'{"scheduledTime": "tomorrow"}',
        b'{"scheduledTime": 1e400}',
        b'{"globalFields": []}',
        b'{"globalFields": {"a": {}}}',
        b'{"attachments": [{"content": "*"}]}',
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_request_is_said_in_few_words(octets: bytes) -> None:
    with pytest.raises(BadInput, match="is no valid JSON of pkg") as caught:
        read_json(SendHTMLReq, octets)
    assert len(str(caught.value)) <= LONGEST_REASON


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
FIELDS = [field.json_name for field in SendHTMLReq.DESCRIPTOR.fields] + ["email", "fields", "opens"]


OBJECTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | OBJECTS, max_size=4))
def test_whatever_it_holds_it_is_read_or_refused(value: object) -> None:
    try:
        message, _ = read_json(SendHTMLReq, json.dumps(value).encode())
    except BadInput:
        return
    assert read_json(SendHTMLReq, MessageToJson(message).encode())[0] == message


def _endpoint() -> Endpoint:
    async def unused(_request: object, _call: Call) -> SendRes:
        raise AssertionError

    return Endpoint("Mailer/SendHTML", Access.API_KEY, SendHTMLReq, unused)
