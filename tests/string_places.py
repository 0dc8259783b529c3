"""Every place of a request where a client sets text or octets, found by its descriptor."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


@dataclass(frozen=True)
class Place:
    """A place.

    Attributes:
        path: the fields that lead there, from the request on; of a repeated one the first element is meant.
        part: of a map, `key` or `value`; empty for what is none.
    """

    path: tuple[FieldDescriptor, ...]
    part: str = ""

    @property
    def name(self) -> str:
        """As in `recipients[0].fields{key}`."""
        steps = [f"{one.name}[0]" if one.is_repeated and not _is_map(one) else one.name for one in self.path]
        return ".".join(steps) + (f"{{{self.part}}}" if self.part else "")

    @property
    def holds_octets(self) -> bool:
        """Whether it is of the type `bytes`."""
        return self.path[-1].type == FieldDescriptor.TYPE_BYTES

    def put(self, request: Message, text: str) -> None:
        """Set it; what leads there is made where it is not there."""
        field, holder = self.path[-1], self._holder(request)
        value: Any = text.encode() if self.holds_octets else text
        if self.part == "key":
            _put_key(getattr(holder, field.name), text)
        elif self.part == "value":
            values = getattr(holder, field.name)
            values[next(iter(values), "name")] = text
        elif field.is_repeated:
            values = getattr(holder, field.name)
            values[:] = [value, *values[1:]]
        else:
            setattr(holder, field.name, value)

    def get(self, request: Message) -> Any:
        """What stands there."""
        field, holder = self.path[-1], self._holder(request)
        found = getattr(holder, field.name)
        if self.part:
            key, value = next(iter(found.items()))
            return key if self.part == "key" else value
        return found[0] if field.is_repeated else found

    def _holder(self, request: Message) -> Any:
        holder: Any = request
        for field in self.path[:-1]:
            inner = getattr(holder, field.name)
            holder = (inner[0] if inner else inner.add()) if field.is_repeated else inner
        return holder


def places(message: Descriptor, before: tuple[FieldDescriptor, ...] = ()) -> Iterator[Place]:
    """All of a request and of the messages in it; such as protobuf brings along have other forms."""
    for field in message.fields:
        path = (*before, field)
        inner = field.message_type
        if inner is not None and _is_map(field):
            yield from (Place(path, part.name) for part in inner.fields if _is_text(part))
        elif inner is not None:
            if not inner.full_name.startswith("google.protobuf."):
                yield from places(inner, path)
        elif _is_text(field):
            yield Place(path)


def _is_text(field: FieldDescriptor) -> bool:
    return field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _put_key(values: Any, key: str) -> None:
    first = next(iter(values), None)
    if first is None:
        values[key] = "x" if values.GetEntryClass().DESCRIPTOR.fields_by_name["value"].type == 9 else 0
    else:
        value = values[first]
        del values[first]
        values[key] = value
