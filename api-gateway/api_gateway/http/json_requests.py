"""Requests in JSON (protobuf's mapping); more is taken than it says, for those who write by hand."""

import asyncio
import json
import logging
import re
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from api_gateway.endpoints import Endpoint
from api_gateway.large_calls import LARGE
from api_gateway.received import Received
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.errors import BadInput

MOST_LOGGED: Final = 20
LONGEST_LOGGED: Final = 100
LONGEST_REASON: Final = 300
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")

log = logging.getLogger(__name__)


async def parse_json(endpoint: Endpoint, received: Received) -> Message:
    """See `answering.Parse`. Fields that are not known are left out, and logged."""
    if received.size >= LARGE:  # seconds of work, during which others are to be answered
        return await asyncio.to_thread(_parsed, endpoint, received)
    return _parsed(endpoint, received)


def read_json(request: type[Message], octets: bytes | bytearray) -> tuple[Message, set[str]]:
    """A request, and the names of fields that were left out.

    A recipient may be a string, its address. Nothing at all is an empty request.

    Raises:
        BadInput: it is none.
    """
    message, unknown = request(), set[str]()
    try:
        text = octets.decode()
        del octets  # which may be large, as the text may
        value = json.loads(text, object_pairs_hook=_without_repetition) if text else {}
        del text
        if not isinstance(value, dict):
            raise ValueError("it is not an object")
        _adapt(value, message.DESCRIPTOR, unknown)  # type: ignore[arg-type]  # upb has a class of its own
        ParseDict(value, message, ignore_unknown_fields=True)
    except RecursionError:
        raise BadInput(f"{_no_valid(request)}: it is nested too deeply") from None
    except Exception as error:  # ParseDict has no words of its own for some of what is wrong
        raise BadInput(f"{_no_valid(request)}: {error}"[:LONGEST_REASON]) from None
    return message, unknown


def _parsed(endpoint: Endpoint, received: Received) -> Message:
    message, unknown = read_json(endpoint.request, received.take())
    if unknown:
        names = sorted(name[:LONGEST_LOGGED] for name in unknown)[:MOST_LOGGED]
        log.info("unknown fields are ignored", extra={"procedure": endpoint.name, "fields": names})
    return message


def _no_valid(request: type[Message]) -> str:
    return f"the request is no valid JSON of {request.DESCRIPTOR.full_name}"


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return value


def _adapt(value: dict[str, Any], message: Descriptor, unknown: set[str]) -> None:
    """Write recipients out that are strings, collect the names of fields that are not known, and refuse what
    ParseDict would take for nothing."""
    fields = _fields(message)
    for name, given in value.items():
        field = fields.get(name)
        if field is None:
            if len(unknown) < MOST_LOGGED:
                unknown.add(name)
        elif field.type == FieldDescriptor.TYPE_BYTES and isinstance(given, str):
            if not _BASE64.fullmatch(given):
                raise ValueError(f"{name} is not base64")
        elif (inner := field.message_type) is None or given is None or not _is_ours(inner):
            continue
        elif isinstance(given, list) and field.is_repeated:
            value[name] = [_adapted(name, one, inner, unknown) for one in given]
        else:
            value[name] = _adapted(name, given, inner, unknown)


def _is_ours(message: Descriptor) -> bool:
    """Whether it is a message of this contract: maps, and what protobuf brings along, have other forms."""
    return not message.GetOptions().map_entry and not message.full_name.startswith("google.protobuf.")


def _adapted(name: str, given: Any, message: Descriptor, unknown: set[str]) -> Any:
    if isinstance(given, str) and message is Recipient.DESCRIPTOR:
        return {"email": given}
    if not isinstance(given, dict):
        raise ValueError(f"{name} must be an object")
    _adapt(given, message, unknown)
    return given


_fields_of: dict[str, dict[str, FieldDescriptor]] = {}


def _fields(message: Descriptor) -> dict[str, FieldDescriptor]:
    """Fields by both names that they have in JSON."""
    found = _fields_of.get(message.full_name)
    if found is None:
        found = {name: field for field in message.fields for name in (field.name, field.json_name)}
        _fields_of[message.full_name] = found
    return found
