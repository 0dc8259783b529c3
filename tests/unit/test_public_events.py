"""Outcomes as public events: one each, the same however often it is said, with what is known and no more."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.http import from_json

from kannon.core.payloads import OutcomeFact
from kannon.core.public_events import BY_OUTCOME, KINDS, public_event

AT = datetime(2027, 3, 4, 5, 6, 7, 80, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FACT = OutcomeFact(
    "7.3",
    "msg_x@example.com",
    "example.com",
    "ada@example.org",
    1,
    AT,
    {"code": 250, "enhanced": "2.0.0", "msg": "ok", "exchanger": "mx.example.org", "ambiguities": 0},
    TRACE,
)
CLICK = {"id": "e1", "mode": "full", "machine": "", "url": "https://a.b/ü", "ip": "::1", "user_agent": "x"}


def test_a_delivered_mail_says_whose_it_is_and_what_the_exchanger_answered() -> None:
    event = public_event("delivered", FACT)
    assert event.attributes() == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/kannon/domains/example.com",
        "type": "email.kannon.delivery.delivered.v1",
        "subject": "7.3",
        "time": "2027-03-04T05:06:07.000080Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:kannon:schema:email.kannon.delivery.delivered.v1",
        "partitionkey": "7.3",
        "traceparent": TRACE,
    }
    assert event.data == {
        "batch": "msg_x@example.com",
        "delivery": "7.3",
        "recipient": "ada@example.org",
        "domain": "example.com",
        "time": "2027-03-04T05:06:07.000080Z",
        "attempt": 1,
        "code": 250,
        "enhanced": "2.0.0",
        "text": "ok",
        "exchanger": "mx.example.org",
    }


def test_a_click_says_where_it_led_and_what_the_mode_lets_one_learn() -> None:
    data = public_event("clicked", replace(FACT, attempt=0, data=CLICK)).data
    assert (data["request"], data["tracking_mode"], data["url"]) == ("e1", "full", "https://a.b/ü")
    assert (data["ip"], data["user_agent"]) == ("::1", "x")
    assert "machine" not in data


def test_where_it_is_not_known_whose_it_is_the_subject_is_the_batch() -> None:
    fact = replace(FACT, delivery="", recipient="p5", data={"id": "e1", "mode": "pseudonymous"})
    event = public_event("opened", fact)
    assert (event.subject, event.partitionkey) == ("msg_x@example.com", "msg_x@example.com")
    assert "delivery" not in event.data
    assert event.data["recipient"] == "p5"


def test_an_sdk_of_others_reads_each_kind() -> None:
    for outcome in BY_OUTCOME:
        event = public_event(outcome, FACT)
        read = from_json(json.dumps(event.structured()))
        assert read["id"] == event.id
        assert read.data == event.data


def test_what_is_said_again_is_the_same_event() -> None:
    elsewhere = FACT.at.astimezone(timezone(timedelta(hours=2)))
    again = replace(FACT, at=elsewhere, recipient="erased@erased.invalid", traceparent="", data={})
    assert public_event("delivered", again).id == public_event("delivered", FACT).id


@pytest.mark.parametrize(
    "other",
    [
        replace(FACT, delivery="7.4"),
        replace(FACT, attempt=2),
        replace(FACT, at=AT + timedelta(microseconds=1)),
        replace(FACT, data={"id": "e2"}),
    ],
)
def test_another_outcome_is_another_event(other: OutcomeFact) -> None:
    assert public_event("delivered", other).id != public_event("delivered", FACT).id


def test_the_kinds_of_one_delivery_are_different_events() -> None:
    assert len({public_event(kind.outcome, FACT).id for kind in KINDS}) == len(KINDS) == 9


def test_what_is_unknown_or_of_another_kind_than_it_should_be_is_not_said() -> None:
    odd = {"code": "250", "enhanced": None, "msg": "", "secret": "x", "hard": False, "permanent": 1}
    data = public_event("bounced", replace(FACT, data=odd)).data
    assert data["hard"] is False
    assert not {"code", "enhanced", "text", "secret", "permanent"} & set(data)


def test_an_outcome_that_there_is_none_of_is_no_event() -> None:
    with pytest.raises(KeyError):
        public_event("error", FACT)
