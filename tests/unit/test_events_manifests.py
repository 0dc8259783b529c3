"""The component that brings events to a Broker, and the example behind it: what comes from where."""

import pytest

from kannon.adapters.nats.streams import READERS
from kannon.core.public_events import KINDS
from tests.manifests import (
    NEWEST,
    OLDEST,
    ROOT,
    Manifest,
    containers,
    label,
    load_all,
    read,
    validate,
)

COMPONENT = read(ROOT / "knative" / "components" / "events")
EXAMPLE = load_all((ROOT / "examples" / "suppress-bounced" / "kannon.yaml").read_text())
BY_NAME = {label(manifest): manifest for manifest in (*COMPONENT, *EXAMPLE)}


@pytest.mark.parametrize("manifest", EXAMPLE, ids=label)
@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_the_example_is_valid(manifest: Manifest, kubernetes: str) -> None:
    validate(manifest, kubernetes)


def test_outcomes_go_from_their_stream_to_the_function_and_from_there_to_the_broker() -> None:
    source = BY_NAME["sources.knative.dev/SinkBinding/events-source"]["spec"]
    assert (source["subject"]["name"], source["sink"]["ref"]["name"]) == ("events-source", "events")
    [container] = containers(BY_NAME["Deployment/events-source"])
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert given["K_SOURCE_ROUTE"] in READERS
    sink = BY_NAME["sources.knative.dev/SinkBinding/events"]["spec"]
    assert (sink["subject"]["kind"], sink["subject"]["name"]) == ("Service", "events")
    assert sink["sink"]["ref"] == {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "name": "default",
    }
    assert "eventing.knative.dev/Broker/default" in BY_NAME


def test_each_type_of_event_is_registered_with_the_broker() -> None:
    registered = [one["spec"]["type"] for one in COMPONENT if one["kind"] == "EventType"]
    assert sorted(registered) == sorted(kind.type for kind in KINDS)


def test_the_triggers_of_the_example_ask_for_types_that_there_are() -> None:
    triggers = [one["spec"] for one in EXAMPLE if one["kind"] == "Trigger"]
    types = [trigger["filter"]["attributes"]["type"] for trigger in triggers]
    assert set(types) <= {kind.type for kind in KINDS}
    assert {trigger["subscriber"]["ref"]["name"] for trigger in triggers} == {"suppress-bounced"}
    assert {trigger["broker"] for trigger in triggers} == {"default"}
