"""Whom a report is about: which Delivery, and which of the recipients that it tells of is that Delivery's."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from kannon.core.addresses import EmailAddress, InvalidAddress
from kannon.core.deliveries import DeliveryId
from kannon.core.reports.entities import Message, read_headers, read_message
from kannon.core.reports.values import Action, Reported
from kannon.core.return_path import BadReturnPath, Use, read

MAX_TRIED: Final = 20
"""Return paths of one report that are checked, at the most."""

_RETURN_PATH = re.compile(
    rf"{re.escape(Use.REPORTS.prefix)}[a-z2-7]{{1,60}}@[a-z0-9.-]{{1,253}}", re.IGNORECASE
)
_SEVERITY: Final = {Action.FAILED: 2, Action.DELAYED: 1}


def signed_delivery(raw: bytes, keys: Mapping[int, bytes], now: datetime) -> DeliveryId | None:
    """The Delivery whose return path a complaint holds, in its own fields or in the header of what was sent.

    That is where the receiver's exchanger writes it (RFC 5965 §3.2, RFC 5321 §4.4). Whatever is not signed,
    such as a Message-ID, anybody could have written, and names no Delivery.

    Args:
        keys: the subkeys for return paths by their ids.
        now: when the complaint came in, aware.
    """
    for tried, address in enumerate(_return_paths(read_message(raw))):
        if tried == MAX_TRIED:
            break
        try:
            return read(keys, address, now).delivery
        except BadReturnPath:
            continue
    return None


def _return_paths(message: Message) -> Iterator[str]:
    told = [part.text for part in message.parts if part.content_type == "message/feedback-report"]
    sent = [part.text.lstrip("\n").partition("\n\n")[0] for part in message.parts if part.is_original]
    for block in (*told, *sent):
        for _, value in read_headers(block).fields:
            yield from (found[0] for found in _RETURN_PATH.finditer(value))


def told_of(address: str, told: Sequence[Reported]) -> Reported | None:
    """What a report that came to one Recipient's return path says of that Recipient.

    The one that has the Recipient's address; else the only one, for mail is forwarded; else, where several
    others are told of, the least severe: one dead member must not write off a whole list.

    Args:
        address: the Recipient's, as the ledger has it.

    Returns:
        None if it tells of nobody.
    """
    wanted = _compared(address)
    matching = [one for one in told if _compared(one.address) == wanted]
    if matching:
        return max(matching, key=_severity)
    return min(told, key=_severity, default=None)


def _severity(one: Reported) -> tuple[int, bool]:
    return _SEVERITY.get(one.action, 0), one.hard


def _compared(address: str) -> str:
    """An address as two of them are compared: the domain in A-labels, all in lower case."""
    try:
        return EmailAddress.parse(address).wire.lower()
    except InvalidAddress:
        return address.lower()
