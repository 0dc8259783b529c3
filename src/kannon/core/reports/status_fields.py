"""The fields of delivery status notifications (RFC 3464, RFC 6533), and where they stand in broken ones."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kannon.core.reports.values import Action

Group = dict[str, str]

MAX_GROUPS: Final = 200
_FIELD = re.compile(r"[ \t]{0,8}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]{0,8}:[ \t]{0,80}(.*)", re.DOTALL)
_OF_RECIPIENT: Final = ("final-recipient", "original-recipient", "x-actual-recipient")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_TYPED = re.compile(r"\s{0,8}([\w/-]{1,30})\s{0,8};\s{0,80}(.*)", re.DOTALL)
_ACTIONS: Final = {
    "failed": Action.FAILED,
    "failure": Action.FAILED,
    "fail": Action.FAILED,
    "error": Action.FAILED,
    "delayed": Action.DELAYED,
    "deferred": Action.DELAYED,
    "delivered": Action.DELIVERED,
    "deliverable": Action.DELIVERED,
    "relayed": Action.RELAYED,
    "expanded": Action.EXPANDED,
}


@dataclass(frozen=True, slots=True)
class StatusFields:
    """What the fields say of one recipient.

    Attributes:
        action: NONE if there is none, or none that the RFC knows.
        status: empty if there is none that is one (RFC 3463).
        diagnostic: the peer's words, without their type.
    """

    address: str
    action: Action
    status: str
    diagnostic: str
    reporting_mta: str


def read_status_fields(text: str) -> list[StatusFields]:
    """What a text says of recipients by such fields, wherever they begin."""
    reporting_mta = ""
    found: list[Group] = []
    for group in _groups(text):
        reporting_mta = reporting_mta or _value(group.get("reporting-mta", ""))
        if any(name in group for name in _OF_RECIPIENT) or {"action", "status"} <= group.keys():
            found.append(group)
        elif (
            found
            and not found[-1].keys() & group.keys()
            and group.keys() & {"status", "action", "diagnostic-code"}
        ):
            found[-1] |= group  # torn apart by a blank line
    return [_of_recipient(group, reporting_mta) for group in found]


def _of_recipient(group: Group, reporting_mta: str) -> StatusFields:
    address = next((found for name in _OF_RECIPIENT if "@" in (found := _address(group.get(name, "")))), "")
    action = _ACTIONS.get(
        re.split(r"[\s;(]", group.get("action", "").strip().lower(), maxsplit=1)[0], Action.NONE
    )
    status = _STATUS.search(group.get("status", "")[:200])
    diagnostic = " ".join(group.get("diagnostic-code", "")[:4_000].split())
    if typed := _TYPED.match(diagnostic):
        diagnostic = typed[2]
    if "status" in group and not diagnostic and "(" in group["status"]:
        diagnostic = " ".join(group["status"].partition("(")[2].rstrip(" )").split())[:1_000]
    return StatusFields(
        address or _address(group.get("final-recipient", "")),
        action,
        status[1] if status else "",
        diagnostic,
        reporting_mta,
    )


def _groups(text: str) -> Iterable[Group]:
    """Fields that stand together; a blank line ends a group, and so does the next recipient."""
    group: Group = {}
    last = ""
    groups = 0
    for line in text.split("\n"):
        if not line.strip():
            if group:
                yield group
                groups += 1
            group, last = {}, ""
        elif line[0] in " \t" and last:
            group[last] += " " + line.strip()
        elif field := _FIELD.match(line):
            last = field[1].lower()
            if last in _OF_RECIPIENT and last in group:
                yield group
                groups += 1
                group = {}
            group.setdefault(last, field[2])
        elif last == "diagnostic-code":
            group[last] += " " + line.strip()  # folded without its space
        if groups > MAX_GROUPS:
            return
    if group:
        yield group


def _value(typed: str) -> str:
    """A typed field's value: `dns; mx.example.com`."""
    found = _TYPED.match(typed[:1_000])
    return (found[2] if found else typed).strip()[:255]


def _address(typed: str) -> str:
    """The address in a recipient field; those of type utf-8 may have characters spelled out (RFC 6533 §3)."""
    value = _value(typed[:1_000])
    value = re.sub(r"\\x\{([0-9A-Fa-f]{2,6})\}", _character, value)
    if found := re.search(r"<([^<>\s]{1,320})>", value):
        value = found[1]
    value = value.strip().strip("<>").split(" ", 1)[0]
    if "@" not in value and re.search(r"\+40(?=[\w.-]{1,255}$)", value):
        value = re.sub(r"\+([0-9A-F]{2})", lambda pair: chr(int(pair[1], 16)), value)  # xtext (RFC 3461 §4)
    return value[:320]


def _character(spelled: re.Match[str]) -> str:
    number = int(spelled[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else spelled[0]
