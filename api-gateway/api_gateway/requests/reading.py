"""CloudEvents 1.0 as others send them: in binary mode, structured, or several in a batch.

By the specification's own parts: the attributes (spec.md §3), the JSON format, the HTTP binding §3, the NATS
binding §3. Nothing here waits. What comes out is valid but for its data, read when the type is known.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

from api_gateway.json_requests import without_repetition
from kannon.core.errors import BadInput

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
MAX_NAME: Final = 1000
"""Characters of an event's `id`, `source`, and other attributes."""
MAX_EVENTS: Final = 100
"""Of one batch."""
REQUIRED: Final = ("specversion", "id", "source", "type")
OPTIONAL: Final = ("subject", "time", "datacontenttype", "dataschema")

_NAME: Final = re.compile(r"[a-z0-9]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 §5.6.2
_MEDIA_TYPE: Final = re.compile(rf"({_TOKEN}/{_TOKEN})\s*(;.*)?")
_CHARSET: Final = re.compile(r';\s*charset="?([^";\s]+)"?', re.IGNORECASE)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_JSON: Final = re.compile(r"application/json|\S+\+json")


class UnknownFormat(BadInput):
    """What it is written in is not read here."""


@dataclass(frozen=True, slots=True)
class GivenEvent:
    """An event, without looking at its data.

    Attributes:
        attributes: by name, `datacontenttype` included; extensions as text.
        octets: its data as it was sent; None where it is a JSON value.
        value: that JSON value.
    """

    attributes: Mapping[str, str]
    octets: bytes | None
    value: Any = None

    @property
    def name(self) -> tuple[str, str]:
        """`source` and `id`, which together are the event's own (spec.md §3.1)."""
        return self.attributes["source"], self.attributes["id"]

    def data(self) -> Any:
        """Its data, as a JSON value.

        Raises:
            UnknownFormat: it is not written in JSON.
            BadInput: it cannot be read.
        """
        media_type, charset = _media_type(self.attributes.get("datacontenttype", "application/json"))
        if not _JSON.fullmatch(media_type) or charset not in ("", "utf-8", "us-ascii"):
            raise UnknownFormat("datacontenttype: application/json is needed")
        return self.value if self.octets is None else _loaded(self.octets, "data")


def read_http(headers: Mapping[str, str], body: bytes) -> GivenEvent | list[GivenEvent | BadInput]:
    """The event of a request, or the events of one that brings a batch; of these each that cannot be read is
    the reason why.

    Args:
        headers: by names in lower case.

    Raises:
        UnknownFormat: no CloudEvents in JSON, nor data in JSON.
        BadInput: no event.
    """
    media_type, charset = _media_type(headers.get("content-type", ""))
    if media_type.startswith("application/cloudevents"):
        if media_type not in (STRUCTURED, BATCH) or charset not in ("", "utf-8"):
            raise UnknownFormat(f"content-type: {STRUCTURED} or {BATCH} is needed, in UTF-8")
        if media_type == BATCH:
            return _read_batch(body)
        return _of_object(_loaded(body, "body"))
    if not _JSON.fullmatch(media_type or "application/json"):
        raise UnknownFormat(f"content-type: application/json, {STRUCTURED} or {BATCH} is needed")
    return _of_headers(headers, body)


def read_message(headers: Mapping[str, str], data: bytes) -> GivenEvent:
    """The event of a message of NATS, in binary mode or structured; raises as `read_http` does."""
    found = {name.lower(): value for name, value in headers.items()}
    is_binary = any(name.startswith("ce-") for name in found)
    event = read_http(found if is_binary else {"content-type": STRUCTURED} | found, data)
    if isinstance(event, list):
        raise UnknownFormat("content-type: a message holds one event, and no batch")
    return event


def _read_batch(body: bytes) -> list[GivenEvent | BadInput]:
    objects = _loaded(body, "body")
    if not isinstance(objects, list):
        raise BadInput("body: a batch is a JSON array of events")
    if len(objects) > MAX_EVENTS:
        raise BadInput(f"body: a batch may hold at most {MAX_EVENTS} events")
    return [_read_or_reason(one) for one in objects]


def _read_or_reason(value: Any) -> GivenEvent | BadInput:
    try:
        return _of_object(value)
    except BadInput as error:
        return error


def _of_headers(headers: Mapping[str, str], body: bytes) -> GivenEvent:
    """Binary mode (HTTP binding §3.1)."""
    given = {
        name.removeprefix("ce-"): _unescaped(name, value)
        for name, value in headers.items()
        if name.startswith("ce-")
    }
    if given.pop("datacontenttype", None) is not None:
        raise BadInput("datacontenttype: is the header content-type in binary mode")
    if content_type := headers.get("content-type"):
        given["datacontenttype"] = content_type
    return GivenEvent(_checked(given), body)


def _unescaped(name: str, value: str) -> str:
    """A header's value as text: quoted strings first, then percent-encoding (HTTP binding §3.1.3.2)."""
    if quoted := _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise BadInput(f"{name.removeprefix('ce-')}: is no UTF-8, percent-encoded") from None


def _of_object(value: Any) -> GivenEvent:
    """Structured mode (JSON format §3)."""
    if not isinstance(value, dict):
        raise BadInput("body: an event is a JSON object")
    members = dict(value)
    data, encoded = members.pop("data", None), members.pop("data_base64", None)
    if data is not None and encoded is not None:
        raise BadInput("data_base64: stands beside data, which it replaces")
    attributes = _checked({name: _text(name, given) for name, given in members.items() if given is not None})
    if encoded is None:
        return GivenEvent(attributes, None, data)
    try:
        return GivenEvent(attributes, base64.b64decode(encoded, validate=True))
    except (ValueError, TypeError):
        raise BadInput("data_base64: is no base64") from None


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name not in REQUIRED + OPTIONAL:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int) and abs(value) <= 2**31:
            return str(value)
    raise BadInput(f"{name}: must be a string")


def _checked(given: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise BadInput("attributes: have names of a to z and 0 to 9")
        if len(value) > MAX_NAME:
            raise BadInput(f"{name}: must not be longer than {MAX_NAME} characters")
        if _CONTROL.search(value):
            raise BadInput(f"{name}: must not hold control characters")
    for name in REQUIRED:
        if not given.get(name):
            raise BadInput(f"{name}: this attribute of a CloudEvent is required")
    if given["specversion"] != "1.0":
        raise BadInput("specversion: 1.0 is needed")
    for name in OPTIONAL:
        if name in given and not given[name]:
            raise BadInput(f"{name}: must not be empty")
    _check_time(given.get("time"))
    if not _MEDIA_TYPE.fullmatch(given.get("datacontenttype", "application/json")):
        raise BadInput("datacontenttype: a media type is needed (RFC 2046)")
    return given


def _check_time(time: str | None) -> None:
    if time is None:
        return
    try:
        if not _TIME.fullmatch(time):
            raise ValueError
        datetime.fromisoformat(time[:19])  # whether there is such a day and hour
    except ValueError:
        raise BadInput("time: a moment as in 2027-01-01T12:00:00Z is needed (RFC 3339)") from None


def _media_type(text: str) -> tuple[str, str]:
    """The type, in lower case, and its charset, likewise."""
    charset = _CHARSET.search(text)
    return text.partition(";")[0].strip().lower(), charset[1].lower() if charset else ""


def _loaded(octets: bytes, place: str) -> Any:
    try:
        return json.loads(octets.decode(), object_pairs_hook=without_repetition)
    except RecursionError:
        raise BadInput(f"{place}: is nested too deeply") from None
    except ValueError as error:  # also where the octets are no UTF-8
        raise BadInput(f"{place}: is no JSON: {error}"[:300]) from None
