"""Whom a report is about, where no field of it says so."""

import re

from kannon.core.reports.entities import Message, Part, read_headers
from kannon.core.reports.notices import any_address

ADDRESS = re.compile(r"[^\s<>(),;:\"]{1,64}@[\w.-]{1,255}\w")
_TO = re.compile(r"^[ \t>|]{0,8}(?:X-Original-)?To:[^\n]{0,300}", re.MULTILINE | re.IGNORECASE)


def correspondents(message: Message) -> frozenset[str]:
    """Addresses of who gets the report and who writes it."""
    found = [
        address.lower()
        for name in ("to", "from", "reply-to", "errors-to", "sender", "delivered-to")
        for address in ADDRESS.findall(message.headers.get(name)[:2_000])
    ]
    return frozenset(found)


def otherwise_named(message: Message, notice: str) -> str:
    """Whom the report means where nothing of its own says so: whom the returned message was to."""
    ours = correspondents(message)
    for part in message.parts:
        if part.is_original and (found := _recipient_of(part)):
            return found
    returned = next(
        (part.text[len(notice) :] for part in message.parts if part.content_type == "text/plain"), ""
    )
    to = _TO.search(returned)
    if to and (address := ADDRESS.search(to[0])):
        return address[0]
    return any_address(notice, ours)


def _recipient_of(original: Part) -> str:
    headers = read_headers(original.text.strip("\n").partition("\n\n")[0])
    for name in ("x-original-to", "envelope-to", "to", "cc"):
        if found := ADDRESS.search(headers.get(name)[:1_000]):
            return found[0]
    return ""
