"""Which headers a caller may set, by their names, and what may stand in them."""

import re
from enum import Enum, auto
from typing import Final

from kannon.core.errors import BadInput

MAX_NAME: Final = 50
"""Characters: an encoded word must fit behind it, on a line of 76."""


class Kind(Enum):
    """What a header's value is."""

    TEXT = auto()
    """Any text; what is not ASCII is encoded (RFC 2047)."""
    MESSAGE_IDS = auto()
    """`<id>`, or several (RFC 5322 §3.6.4)."""
    LIST_ID = auto()
    """`<id>` with or without a name before it (RFC 2919)."""
    STRUCTURED = auto()
    """What programs read: printable ASCII."""


_NAME = re.compile(rf"[A-Za-z](?:[A-Za-z0-9_-]{{0,{MAX_NAME - 2}}}[A-Za-z0-9])?")
_OURS: Final = frozenset(
    {"from", "sender", "subject", "date", "message-id", "mime-version", "return-path", "received", "bcc"}
    | {"dkim-signature", "list-unsubscribe", "list-unsubscribe-post"}
)
_FIELDS_OF: Final = {"to": "headers.to", "cc": "headers.cc", "reply-to": "headers.reply_to"}
_KINDS: Final = {
    "in-reply-to": Kind.MESSAGE_IDS,
    "references": Kind.MESSAGE_IDS,
    "list-id": Kind.LIST_ID,
    "auto-submitted": Kind.STRUCTURED,
    "precedence": Kind.STRUCTURED,
}


def kind_of(name: str) -> Kind:
    """What may stand in a header of a caller's own.

    Raises:
        BadInput: it is not theirs to set, or no name of a header; the text names it.
    """
    place = f"headers.custom.{name[:60]}"
    lower = name.lower()
    if lower in _FIELDS_OF:
        raise BadInput(f"{place}: is set by {_FIELDS_OF[lower]}")
    if lower in _OURS or lower.startswith(("content-", "x-kannon-", "resent-", "arc-", "authentication-")):
        raise BadInput(f"{place}: is written by Kannon, and cannot be set")
    if _NAME.fullmatch(name):
        if lower in _KINDS:
            return _KINDS[lower]
        if lower.startswith("x-") and len(lower) > 2:
            return Kind.TEXT
        if lower.startswith("list-") and len(lower) > 5:
            return Kind.STRUCTURED
    raise BadInput(
        f"{place}: may not be set; X-… and List-… may, with letters, digits, - and _ and at most"
        f" {MAX_NAME} characters, In-Reply-To, References, Auto-Submitted and Precedence"
    )
