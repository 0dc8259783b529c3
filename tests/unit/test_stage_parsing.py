"""Reading a CloudEvent from a request."""

import pytest

from kannon.core.errors import MalformedEvent
from kannon.runtime.stage import parse_event

BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t", "content-type": "x/y"}


def test_header_values_are_percent_decoded() -> None:
    event = parse_event(BINARY | {"ce-subject": "Euro%20%E2%82%AC"}, b"\x00data")
    assert (event.subject, event.datacontenttype, event.data) == ("Euro €", "x/y", b"\x00data")


def test_attributes_in_a_structured_event_are_taken_as_they_are() -> None:
    body = (
        b'{"specversion":"1.0","id":"1","source":"/a","type":"t","subject":"50%25","data":{"a":"\xc3\xa4"}}'
    )
    event = parse_event({"content-type": "application/cloudevents+json; charset=utf-8"}, body)
    assert (event.subject, event.data) == ("50%25", '{"a":"ä"}'.encode())


@pytest.mark.parametrize("missing", ["ce-specversion", "ce-id", "ce-source", "ce-type"])
def test_a_request_without_a_required_attribute_holds_no_event(missing: str) -> None:
    headers = {name: value for name, value in BINARY.items() if name != missing}
    with pytest.raises(MalformedEvent):
        parse_event(headers, b"{}")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 10_000])
def test_a_structured_body_that_is_none_holds_no_event(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        parse_event({"content-type": "application/cloudevents+json"}, body)


def test_another_version_is_refused() -> None:
    with pytest.raises(MalformedEvent):
        parse_event(BINARY | {"ce-specversion": "0.3"}, b"{}")
