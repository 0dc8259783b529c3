"""The contracts in docs/events say what the code does: made of it, up to date, and kept by every event."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from kannon.core.payloads import SendRefused
from kannon.core.public_events import KINDS, Kind, public_event
from kannon.core.webhooks import check_event as webhook_test
from tests.commands import check_generated
from tests.contracts import FOLDER, check_data, check_event, document, schema_of
from tests.unit.test_public_events import FACT

ROOT = Path(__file__).resolve().parents[2]
EVENT_TYPES = ROOT / "knative" / "components" / "events" / "event-types.yaml"
VALUES = {str: "x", int: 7, bool: True}
REQUEST: dict[str, Any] = {
    "sender": {"email": "a@example.com"},
    "subject": "Hello",
    "html": "<p>Hello</p>",
    "recipients": ["ada@example.org", {"email": "bob@example.org", "fields": {"name": "Bob"}}],
    "scheduled_time": "2027-01-01T00:00:00Z",
    "globalFields": {"shop": "x"},
    "syntax": "TEMPLATE_SYNTAX_LIQUID",
}


def full(kind: Kind) -> dict[str, Any]:
    """An event that knows all that there is to know."""
    data = {field.key or field.name: VALUES[field.kind] for field in kind.fields}
    return public_event(kind.outcome, replace(FACT, data=data)).structured()


def test_they_are_up_to_date() -> None:
    check_generated("contracts.py", "these")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.outcome)
def test_an_event_that_knows_everything_keeps_its_contract_and_has_all_of_it(kind: Kind) -> None:
    event = full(kind)
    check_event(event)
    assert event["data"].keys() == schema_of(kind.type)["properties"].keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.outcome)
def test_an_event_that_knows_nothing_keeps_its_contract(kind: Kind) -> None:
    check_event(public_event(kind.outcome, replace(FACT, delivery="", data={}, traceparent="")).structured())


@pytest.mark.parametrize("name", ["batch", "recipient", "domain", "time", "attempt"])
def test_an_event_that_lacks_what_all_have_breaks_its_contract(name: str) -> None:
    event = public_event("delivered", FACT).structured()
    del event["data"][name]
    with pytest.raises(jsonschema.ValidationError, match=name):
        check_event(event)


def test_a_refusal_has_the_members_and_types_that_its_contract_says() -> None:
    schema = schema_of("email.kannon.send.refused.v1")
    said = {name: one["type"] for name, one in schema["properties"].items()}
    assert said == {one.name: {str: "string", int: "integer"}[one.type] for one in fields(SendRefused)}  # type: ignore[index]
    assert schema["required"] == list(said)


def test_the_event_that_tests_a_webhook_keeps_its_contract() -> None:
    check_event(json.loads(webhook_test("e1", "wh_1", "a.example", datetime(2027, 3, 4, tzinfo=UTC))))


def test_a_request_to_send_is_the_json_of_the_api() -> None:
    check_data("email.kannon.send.requested.v1", REQUEST)
    by_template = {name: value for name, value in REQUEST.items() if name != "html"} | {"templateId": "t@d"}
    check_data("email.kannon.send.requested.v1", by_template)


@pytest.mark.parametrize(
    "change", [{"html": None}, {"recipients": "ada@example.org"}, {"syntax": "LIQUID"}, {"subject": 7}]
)
def test_what_is_no_request_to_send_breaks_the_contract(change: dict[str, Any]) -> None:
    request = {name: value for name, value in (REQUEST | change).items() if value is not None}
    with pytest.raises(jsonschema.ValidationError):
        check_data("email.kannon.send.requested.v1", request)


def test_the_document_names_every_type_and_every_file() -> None:
    messages = document()["components"]["messages"]
    assert sorted(f"{name}.schema.json" for name in messages) == sorted(
        path.name for path in FOLDER.glob("*.schema.json")
    )
    for message in messages.values():
        assert (FOLDER / message["payload"]["schema"]["$ref"]).is_file()
    told = {name for channel in document()["channels"].values() for name in channel["messages"]}
    assert told == messages.keys()
    for operation in document()["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document()["channels"]


def test_every_type_that_goes_to_the_broker_is_registered_there() -> None:
    found = list(yaml.safe_load_all(EVENT_TYPES.read_text()))
    assert [one["spec"]["type"] for one in found] == [kind.type for kind in KINDS]
    assert all(one["spec"]["schema"] == schema_of(one["spec"]["type"])["$id"] for one in found)
