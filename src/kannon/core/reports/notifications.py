"""Notifications in JSON: Amazon SES, by itself or in a letter of SNS."""

import json
from dataclasses import dataclass
from typing import Any, Final

from kannon.core.reports.values import Action, Kind

JsonObject = dict[str, Any]

MAX_RECIPIENTS: Final = 100
_LISTS: Final = {
    "bounce": (Kind.BOUNCE, "bounce", "bouncedRecipients", Action.FAILED),
    "complaint": (Kind.COMPLAINT, "complaint", "complainedRecipients", Action.NONE),
    "deliverydelay": (Kind.DELAYED, "deliveryDelay", "delayedRecipients", Action.DELAYED),
    "delivery": (Kind.DELAYED, "delivery", "recipients", Action.DELIVERED),
}
"""By the type of a notification: what it is, where its detail stands, and in that its recipients."""


@dataclass(frozen=True, slots=True)
class Notified:
    """What a notification says of one recipient, as it stands there.

    Attributes:
        feedback: the type of a complaint (RFC 5965 §7.3).
    """

    address: str
    action: Action
    status: str
    text: str
    feedback: str
    reporting_mta: str


def read_notification(text: str) -> tuple[Kind, list[Notified]] | None:
    """What is notified, and of whom; None if the text is no such notification.

    See https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html.
    """
    notification = _object(text)
    if isinstance(inner := notification.get("Message"), str):
        notification = _object(inner)
    event = _string(notification, "notificationType") or _string(notification, "eventType")
    if event.lower() not in _LISTS:
        return None
    kind, where, whose, action = _LISTS[event.lower()]
    found = notification.get(where)
    detail = found if isinstance(found, dict) else {}
    listed = detail.get(whose)
    recipients = listed[:MAX_RECIPIENTS] if isinstance(listed, list) else []
    return kind, [
        _notified(detail, one if isinstance(one, dict) else {"emailAddress": one}, action)
        for one in recipients
    ]


def _notified(detail: JsonObject, recipient: JsonObject, action: Action) -> Notified:
    words = _string(recipient, "diagnosticCode") or _string(detail, "smtpResponse")
    kinds = f"{_string(detail, 'bounceType')} {_string(detail, 'bounceSubType')}"
    transient = _string(detail, "bounceType") == "Transient" or action is Action.DELAYED
    status = _string(recipient, "status") or ("4.0.0" if transient else "")
    return Notified(
        _string(recipient, "emailAddress"),
        action,
        status,
        words.partition(";")[2].strip() if words.lower().startswith("smtp;") else words or kinds.strip(),
        _string(detail, "complaintFeedbackType") or "abuse",
        _string(detail, "reportingMTA").rpartition(";")[2].strip(),
    )


def _object(text: str) -> JsonObject:
    """The object that a text begins with; one that is broken over lines on its way is mended."""
    begin = text.lstrip()
    if not begin.startswith("{"):
        return {}
    for attempt in (begin, begin.replace("!\n ", "").replace("\n", "")):
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(attempt)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict) else {}
    return {}


def _string(of: JsonObject, name: str) -> str:
    found = of.get(name)
    return found[:4_000] if isinstance(found, str) else ""
