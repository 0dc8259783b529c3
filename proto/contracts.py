"""Makes the contracts of public events from the code that writes and reads them: JSON Schemas and an AsyncAPI
document in docs/events/, and EventTypes in knative/components/events/; see `--help`."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kannon.adapters.pb import mailer_pb2
from kannon.core.public_events import COMMON, CONTENT_TYPE, KINDS, SCHEMAS, Field, Kind
from kannon.core.webhooks import TEST_TYPE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "events"
EVENT_TYPES = ROOT / "knative" / "components" / "events" / "event-types.yaml"
MADE = "Made by `make generate` (proto/contracts.py): never edited by hand."
DRAFT = "https://json-schema.org/draft/2020-12/schema"
REQUESTED = "email.kannon.send.requested.v1"
REFUSED = "email.kannon.send.refused.v1"
Schema = dict[str, Any]

_KINDS = {str: "string", int: "integer", bool: "boolean"}
_EXAMPLE = "2027-03-04T05:06:07.000080Z"
_REFUSED = (
    Field("domain", str, "The Domain under whose subject the request came."),
    Field("sequence", int, "Of the request in its stream."),
    Field("request_source", str, "Its `source`; empty where it had none that can be read."),
    Field("request_id", str, "Its `id`; empty where it had none that can be read."),
    Field("reason", str, "What is wrong with it, in words."),
    Field(
        "field", str, "Where; empty if that is no single place. What stands in the data begins with `data.`."
    ),
)
_TEST = (
    Field("domain", str, "The Domain whose webhook it is."),
    Field("webhook", str, "The webhook, as its id names it."),
)
_SAID = {
    REQUESTED: "Asks for mail, as SendHTML or SendTemplate does. Source and id are its idempotency key.",
    REFUSED: "A request that came by NATS and will never be done.",
    TEST_TYPE: "Someone asked for a test of a webhook. It is posted to that alone.",
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
}


def schemas() -> dict[str, Schema]:
    """The schema of the data of each type."""
    found = {kind.type: _of_kind(kind) for kind in KINDS}
    for name, fields in ((REFUSED, _REFUSED), (TEST_TYPE, _TEST)):
        found[name] = _object(name, _SAID[name], fields, [field.name for field in fields])
    found[REQUESTED] = _of_requests()
    return dict(sorted(found.items()))


def _of_kind(kind: Kind) -> Schema:
    required = [field.name for field in COMMON if field.name != "delivery"]
    return _object(kind.type, kind.told, (*COMMON, *kind.fields), required)


def _object(name: str, told: str, fields: Iterable[Field], required: list[str]) -> Schema:
    properties = {field.name: _of_field(field) for field in fields}
    return _head(name, told) | {"type": "object", "properties": properties, "required": required}


def _head(name: str, told: str) -> Schema:
    return {"$schema": DRAFT, "$id": f"{SCHEMAS}{name}", "$comment": MADE, "title": name, "description": told}


def _of_field(field: Field) -> Schema:
    schema: Schema = {"type": _KINDS[field.kind], "description": field.told}
    return schema | ({"format": field.format} if field.format else {})


def _of_requests() -> Schema:
    """One of two requests of the API, in the JSON of protobuf: names as there or in lowerCamelCase."""
    messages = [
        mailer_pb2.DESCRIPTOR.message_types_by_name[name] for name in ("SendHTMLReq", "SendTemplateReq")
    ]
    definitions: dict[str, Schema] = {}
    for message in messages:
        _define(message, definitions)
    for name, named in (("SendHTMLReq", ("html",)), ("SendTemplateReq", ("templateId", "template_id"))):
        definitions[name]["anyOf"] = [{"required": [one]} for one in named]
    both = [{"$ref": f"#/$defs/{message.name}"} for message in messages]
    head = _head(REQUESTED, f"{_SAID[REQUESTED]} The fields are told of in docs/api.md.")
    return head | {"anyOf": both, "$defs": dict(sorted(definitions.items()))}


def _define(message: Descriptor, definitions: dict[str, Schema]) -> None:
    if message.name in definitions:
        return
    properties: dict[str, Schema] = {}
    definitions[message.name] = {"type": "object", "properties": properties}
    for field in message.fields:
        schema = _of_protobuf(field, definitions)
        properties |= {name: schema for name in (field.json_name, field.name)}


def _of_protobuf(field: FieldDescriptor, definitions: dict[str, Schema]) -> Schema:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _one(kind.fields_by_name["value"], definitions)}
    one = _one(field, definitions)
    if kind is not None and kind.name == "Recipient":
        one = {"anyOf": [{"type": "string", "description": "The address."}, one]}
    return {"type": "array", "items": one} if field.is_repeated else one


def _one(field: FieldDescriptor, definitions: dict[str, Schema]) -> Schema:
    if field.message_type is not None:
        if known := _WELL_KNOWN.get(field.message_type.full_name):
            return known
        _define(field.message_type, definitions)
        return {"$ref": f"#/$defs/{field.message_type.name}"}
    if field.enum_type is not None:
        return {"enum": [value.name for value in field.enum_type.values]}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    if field.type == FieldDescriptor.TYPE_STRING:
        return {"type": "string"}
    return {"type": ["integer", "string"]}


def asyncapi() -> Schema:
    """Where which event travels."""
    out, asked = [kind.type for kind in KINDS], [REQUESTED]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kannon's public events",
            "version": "1",
            "description": "CloudEvents 1.0 in and out, in JSON. See docs/events.md.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "outcomes": _channel(
                None, "What K_SINK of the function events names: a Broker, a Channel, any URL.", out
            ),
            "webhooks": _channel(
                None,
                "What Api.CreateWebhook named: POST, in structured mode, signed (docs/webhooks.md).",
                [*out, TEST_TYPE],
            ),
            "requests": _channel("/events", "At the gateway's port: POST.", asked),
            "requestsByNats": _channel(
                "kannon.v1.requests.{domain}", "Where that is turned on.", asked, True
            ),
            "refusalsByNats": _channel("kannon.v1.send.refused.{domain}", "For who asked.", [REFUSED], True),
        },
        "operations": {
            "tellOutcomes": {"action": "send", "channel": {"$ref": "#/channels/outcomes"}},
            "tellWebhooks": {"action": "send", "channel": {"$ref": "#/channels/webhooks"}},
            "takeRequests": {"action": "receive", "channel": {"$ref": "#/channels/requests"}},
            "takeRequestsByNats": {"action": "receive", "channel": {"$ref": "#/channels/requestsByNats"}},
            "tellRefusals": {"action": "send", "channel": {"$ref": "#/channels/refusalsByNats"}},
        },
        "components": {"messages": {name: _message(name, schema) for name, schema in schemas().items()}},
    }


def _channel(address: str | None, told: str, types: Iterable[str], is_for_domain: bool = False) -> Schema:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in types}
    channel = {"address": address, "description": told, "messages": messages}
    return channel | ({"parameters": {"domain": {"description": "The Domain."}}} if is_for_domain else {})


def _message(name: str, schema: Schema) -> Schema:
    return {
        "name": name,
        "title": name,
        "summary": schema["description"],
        "contentType": CONTENT_TYPE,
        "headers": _headers(name),
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{name}.schema.json"},
        },
    }


def _headers(name: str) -> Schema:
    """Of binary mode; in structured mode the same stand in the body, without `ce-`."""
    text: Schema = {"type": "string"}
    required: Schema = {
        "ce-specversion": {"const": "1.0"},
        "ce-type": {"const": name},
        "ce-id": text,
        "ce-source": text | {"format": "uri-reference"},
    }
    more: Schema = {}
    if name != REQUESTED:
        required |= {
            "ce-subject": text,
            "ce-time": text | {"format": "date-time", "examples": [_EXAMPLE]},
        }
    if name not in (REQUESTED, REFUSED):
        required["ce-dataschema"] = {"const": f"{SCHEMAS}{name}"}
    if name not in (REQUESTED, TEST_TYPE):
        required["ce-partitionkey"] = text
        more["ce-traceparent"] = text
    return {"type": "object", "properties": required | more, "required": list(required)}


def event_types() -> list[Schema]:
    """EventTypes (eventing.knative.dev/v1beta2) of what goes to the Broker."""
    return [
        {
            "apiVersion": "eventing.knative.dev/v1beta2",
            "kind": "EventType",
            "metadata": {
                "name": kind.type.replace(".", "-"),
                "namespace": "kannon",
                "labels": {"app.kubernetes.io/name": "kannon"},
            },
            "spec": {
                "type": kind.type,
                "schema": kind.schema,
                "description": kind.told,
                "reference": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"},
            },
        }
        for kind in KINDS
    ]


def files() -> Iterator[tuple[Path, str]]:
    """Each file and what it is to hold."""
    for name, schema in schemas().items():
        yield FOLDER / f"{name}.schema.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    yield FOLDER / "asyncapi.yaml", f"# {MADE}\n" + _yaml(asyncapi())
    yield EVENT_TYPES, f"# {MADE}\n" + "---\n".join(map(_yaml, event_types()))


def _yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def main() -> int:
    """Write them, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    check = parser.parse_args().check
    wanted = dict(files())
    stray = set(FOLDER.glob("*.schema.json")) - wanted.keys()
    differing = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in (*differing, *stray):
        print(path.relative_to(ROOT))
    if check:
        return 1 if differing or stray else 0
    for path in differing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in stray:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
