"""Holds public events to the contracts in docs/events, as their receivers would."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "events"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_NAME = re.compile(r"[a-z0-9]{1,20}")


@cache
def schema_of(event_type: str) -> Mapping[str, Any]:
    """The schema of the data of a type; one that lacks a contract fails the test."""
    schema: Mapping[str, Any] = json.loads((FOLDER / f"{event_type}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@cache
def document() -> Mapping[str, Any]:
    """The AsyncAPI document."""
    found: Mapping[str, Any] = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    return found


def check_data(event_type: str, data: object) -> None:
    """Fail unless the data of an event fits its schema, and has nothing that the schema does not name."""
    schema = schema_of(event_type)
    checker = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(data)
    if isinstance(data, Mapping) and "properties" in schema:
        assert data.keys() <= schema["properties"].keys()


def check_event(event: Mapping[str, Any]) -> None:
    """Fail unless it is a CloudEvent 1.0 (spec.md §3) whose data fits the schema of its type.

    Args:
        event: its attributes by name, and `data`.
    """
    attributes = {name: value for name, value in event.items() if name != "data"}
    assert attributes.keys() >= {"specversion", "id", "source", "type", "datacontenttype"}
    assert attributes["specversion"] == "1.0"
    assert all(isinstance(value, str) and value for value in attributes.values())
    assert all(map(_NAME.fullmatch, attributes))
    if "time" in attributes:
        assert _TIME.fullmatch(attributes["time"])
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    jsonschema.Draft202012Validator(document()["components"]["messages"][event["type"]]["headers"]).validate(
        headers
    )
    check_data(event["type"], event["data"])
