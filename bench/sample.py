"""A look at one mail that arrived: whether its links are tracked, and lead where they should."""

import binascii
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import SMTP

_ADDRESS = re.compile(
    r"https://stats\.(?P<domain>[\w.-]+)/(?P<kind>[oc])/[\w-]+\.(?P<payload>[\w-]+)\.[\w-]+"
)


class NotTracked(Exception):
    """What arrived is not what is to be measured."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is tracked in a mail.

    Attributes:
        urls: where the tracked links lead.
        pixels: how many there are.
    """

    urls: tuple[str, ...]
    pixels: int


def tracked_in(mail: bytes) -> Tracked:
    """What is tracked in a mail as it came, dots stuffed."""
    message = message_from_bytes(mail.replace(b"\r\n..", b"\r\n."), policy=SMTP)
    html = message.get_body(("html",))
    found = list(_ADDRESS.finditer(html.get_content() if html else ""))
    urls = [_said(one["payload"])["u"] for one in found if one["kind"] == "c"]
    return Tracked(tuple(urls), sum(one["kind"] == "o" for one in found))


def demand(tracked: Tracked, urls: Collection[str]) -> None:
    """Raise NotTracked unless links lead to these URLs and there is one pixel; of no URLs, none."""
    if sorted(tracked.urls) != sorted(urls) or tracked.pixels != bool(urls):
        raise NotTracked(f"a mail arrived with {tracked.pixels} pixels and links to {list(tracked.urls)}")


def _said(payload: str) -> dict[str, str]:
    said: dict[str, str] = json.loads(binascii.a2b_base64(payload.translate(_TO_BASE64) + "==="))
    return said


_TO_BASE64 = str.maketrans("-_", "+/")
