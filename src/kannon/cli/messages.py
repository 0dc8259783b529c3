"""Messages of the API for programs, as JSON."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message


def as_object(message: "Message") -> dict[str, Any]:
    """All fields of a message, under their own names; numbers as numbers.

    Protobuf's JSON writes those of 64 bits as text, and to jq every text is larger than any number.
    """
    from google.protobuf.json_format import MessageToDict

    found = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _with_numbers(message.DESCRIPTOR.fields_by_name, found)


def _with_numbers(fields: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(fields[name], value) for name, value in found.items()}


def _value(field: Any, value: Any) -> Any:
    wide = (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    of = field.message_type
    if of is not None and of.GetOptions().map_entry:
        return {name: _value(of.fields_by_name["value"], one) for name, one in value.items()}
    if isinstance(value, list):
        return [_value(field, one) for one in value]
    if of is not None and isinstance(value, dict):
        return _with_numbers(of.fields_by_name, value)
    return int(value) if field.cpp_type in wide else value
