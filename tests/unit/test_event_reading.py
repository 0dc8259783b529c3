"""How CloudEvents are read: the cases of cloudevents/conformance, in words of our own, and more."""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.requests.reading import BATCH, STRUCTURED, GivenEvent, UnknownFormat, read_http, read_message
from kannon.core.errors import BadInput

# What the four cases of features/http-protocol-binding.feature have in common.
CONTEXT = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "time": "2018-04-05T03:56:24Z",
    "id": "1234-1234-1234",
    "source": "/mycontext/subcontext",
}
DATA = {"message": "Hello World!"}
INDENTED = b'{\n    "message": "Hello World!"\n}'


def one(headers: Mapping[str, str], body: bytes) -> GivenEvent:
    event = read_http(headers, body)
    assert isinstance(event, GivenEvent)
    return event


def in_headers(attributes: Mapping[str, str]) -> dict[str, str]:
    return {f"ce-{name}": value for name, value in attributes.items()}


def structured(**changes: Any) -> bytes:
    told = CONTEXT | {"datacontenttype": "application/json", "data": DATA} | changes
    return json.dumps({name: value for name, value in told.items() if value is not ...}).encode()


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
def test_conformance_of_binary_mode(kind: str) -> None:
    event = one(in_headers(CONTEXT) | {"content-type": kind}, INDENTED)
    assert event.attributes == CONTEXT | {"datacontenttype": kind}
    assert event.data() == DATA


@pytest.mark.parametrize(
    "kind", ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"]
)
def test_conformance_of_structured_mode(kind: str) -> None:
    event = one({"content-type": kind}, structured())
    assert event.attributes == CONTEXT | {"datacontenttype": "application/json"}
    assert event.data() == DATA


@pytest.mark.parametrize(
    "changes",
    [
        *({name: gone} for name in ("specversion", "id", "type", "source") for gone in (..., "", None)),
        {"specversion": "0.9"},
        *({"time": time} for time in ("lunchtime", "2018-04-05T18:31Z", "2018-04-05T18:31:00X")),
        *({"time": f"2018-04-05T18:31:00{offset}"} for offset in ("+25:00", "+xx:00", "+05", "")),
        {"time": "2018-02-30T18:31:00Z"},
        {"datacontenttype": "xyz"},
        {"datacontenttype": ""},
        {"dataschema": ""},
        {"subject": ""},
        {"id": 25},
        {"id": {"xyz": "abc"}},
        {"MyExtension": "bad"},
        {"my.extension": "bad"},
        {"extension": 1.5},
        {"extension": 2**40},
        {"id": "a\x00b"},
        {"id": "\ud800"},
        {"source": "s" * 1001},
        {"data_base64": "eyAieHl6IjogMTIzIH0="},
        {"data": ..., "data_base64": "no base64!"},
        {"data": ..., "data_base64": 5},
    ],
)
def test_what_is_no_event_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        read_http({"content-type": STRUCTURED}, structured(**changes))


@pytest.mark.parametrize("time", ["2018-04-05T18:31:00.25z", "2018-04-05t18:31:00-11:30"])
def test_moments_are_those_of_rfc_3339(time: str) -> None:
    assert one({"content-type": STRUCTURED}, structured(time=time)).attributes["time"] == time


def test_extensions_may_be_numbers_and_truths_and_null_is_nothing() -> None:
    event = one({"content-type": STRUCTURED}, structured(count=5, good=True, subject=None))
    assert (event.attributes["count"], event.attributes["good"]) == ("5", "true")
    assert "subject" not in event.attributes


def test_data_may_stand_in_base64() -> None:
    body = structured(data=..., data_base64=base64.b64encode(INDENTED).decode())
    assert one({"content-type": STRUCTURED}, body).data() == DATA


def test_data_that_is_a_string_is_no_object_in_disguise() -> None:
    assert one({"content-type": STRUCTURED}, structured(data='{"html": "x"}')).data() == '{"html": "x"}'


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/json; charset=utf-16"])
def test_data_that_is_not_json_is_not_read(kind: str) -> None:
    with pytest.raises(UnknownFormat):
        one({"content-type": STRUCTURED}, structured(datacontenttype=kind)).data()


def test_headers_are_unescaped_and_then_decoded() -> None:
    named = {"subject": '"Euro%20%E2%82%AC \\"%F0%9F%98%80\\""', "other": "100%25"}
    event = one(in_headers(CONTEXT | named), b"{}")
    assert (event.attributes["subject"], event.attributes["other"]) == ('Euro € "😀"', "100%")


def test_one_event_of_a_batch_that_cannot_be_read_leaves_the_others() -> None:
    body = b"[" + b",".join([structured(), structured(id=...), b"5"]) + b"]"
    first, second, third = read_http({"content-type": BATCH}, body)  # type: ignore[misc]
    assert isinstance(first, GivenEvent)
    assert str(second).startswith("id: ")
    assert isinstance(third, BadInput)


def test_a_message_of_nats_is_in_either_mode() -> None:
    headers = {f"Ce-{name.capitalize()}": value for name, value in CONTEXT.items()}
    assert read_message(headers, INDENTED).data() == DATA
    assert read_message({}, structured()).data() == DATA
    assert read_message({"Content-Type": STRUCTURED}, structured()).data() == DATA
    for given_headers, data in (
        ({}, b"{}"),
        ({}, b""),
        ({"ce-id": "1"}, b"{}"),
        ({"content-type": BATCH}, b"[]"),
    ):
        with pytest.raises(BadInput):
            read_message(given_headers, data)


@given(
    st.dictionaries(st.sampled_from([*in_headers(CONTEXT), "ce-time", "ce-x", "content-type"]), st.text()),
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode()),
)
def test_whatever_comes_is_an_event_or_refused(headers: dict[str, str], body: bytes) -> None:
    for mode in (
        headers,
        in_headers(CONTEXT) | headers,
        {"content-type": STRUCTURED},
        {"content-type": BATCH},
    ):
        with suppress(BadInput):
            found = read_http(mode, body)
            if isinstance(found, GivenEvent):
                found.data()
