"""What a message that came back is, and what it says: the one entrance to this room."""

import re
from collections.abc import Sequence
from typing import Final

from kannon.core.replies import any_of
from kannon.core.reports import signs
from kannon.core.reports.complaints import read_complaint
from kannon.core.reports.entities import Message, read_message
from kannon.core.reports.judging import judged
from kannon.core.reports.naming import ADDRESS, correspondents, otherwise_named
from kannon.core.reports.notices import (
    Quoted,
    blocks_of,
    lines_about,
    named_in_line,
    notice_of,
    quoted_reply,
    transcript_of,
)
from kannon.core.reports.notifications import Notified, read_notification
from kannon.core.reports.recognition import answers_itself, is_of_machine, may_report, reports_failure
from kannon.core.reports.status_fields import StatusFields, read_status_fields
from kannon.core.reports.values import Action, Kind, Report, Reported

MAX_RECIPIENTS: Final = 50
_SAYS_LITTLE: Final = 8
"""Characters next to an address that are too few to be a reason."""

_DELIVERY_STATUS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_FIELDS = re.compile(
    r"^[ \t]{0,8}(final-recipient|original-recipient)[ \t]{0,4}:", re.MULTILINE | re.IGNORECASE
)
_FAILED_HEADERS: Final = (
    "x-failed-recipients",
    "x-bounced-address",
    "x-failed-recipient",
    "x-mailer-daemon-recipients",
)


def read_report(raw: bytes) -> Report:
    """Read a message that came back: a bounce, a complaint, an automatic answer, or something else.

    It takes a bounded time and never raises, whatever it is given.
    """
    try:
        return read(raw)
    except (
        Exception
    ):  # who sends this must not choose what stops us; the tests call `read`, where nothing is caught
        return Report(Kind.UNRECOGNISED, reason="unreadable")


def is_written_by_person(raw: bytes) -> bool:
    """Whether a message is neither a report, nor sent by a machine; bounded and without errors, as above."""
    try:
        message = read_message(raw)
        kind = read(raw).kind
    except Exception:
        return False
    return kind in (Kind.UNRECOGNISED, Kind.AUTO_REPLY) and not is_of_machine(message)


def read(raw: bytes) -> Report:
    """The same, but an error in here is raised."""
    message = read_message(raw)
    return (
        _set_aside(message)
        or read_complaint(message)
        or _of_notification(message)
        or _of_status_fields(message)
        or _of_words(message)
        or Report(Kind.UNRECOGNISED)
    )


def _set_aside(message: Message) -> Report | None:
    """What is recognised, and says nothing of a mail that we sent."""
    types = {part.content_type for part in message.parts}
    report_type = message.parameters.get("report-type", "").lower()
    subject = message.headers.get("subject")
    if report_type == "disposition-notification" or "message/disposition-notification" in types:
        return Report(Kind.UNRECOGNISED, reason="read-receipt")  # RFC 8098
    if report_type == "tlsrpt" or types & {"application/tlsrpt+gzip", "application/tlsrpt+json"}:
        return Report(Kind.UNRECOGNISED, reason="tls-report")  # RFC 8460
    if re.search(r"\breport domain:.{0,300}\bsubmitter:", subject[:1_000], re.IGNORECASE):
        return Report(Kind.UNRECOGNISED, reason="dmarc-report")  # RFC 7489 §7.2.1.1
    return None


def _of_notification(message: Message) -> Report | None:
    for part in message.parts[:3]:
        if part.content_type in ("text/plain", "application/json") and (
            found := read_notification(part.text)
        ):
            kind, notified = found
            if kind is Kind.COMPLAINT:
                recipients = tuple(
                    Reported(one.address, Action.NONE, category=one.feedback, reporting_mta=one.reporting_mta)
                    for one in notified
                )
            else:
                recipients = tuple(judged(_fields_of(one), "") for one in notified)
            return Report(kind, recipients or (Reported("", Action.NONE),), _reason(recipients))
    return None


def _fields_of(one: Notified) -> StatusFields:
    return StatusFields(one.address, one.action, one.status, one.text, one.reporting_mta)


def _of_status_fields(message: Message) -> Report | None:
    """A delivery status notification, well-formed or not."""
    declared = [part.text for part in message.parts if part.content_type in _DELIVERY_STATUS]
    fields = [found for text in declared for found in read_status_fields(text)]
    if not fields and (declared or may_report(message)):
        texts = [part.text for part in message.parts if not part.is_original and _FIELDS.search(part.text)]
        fields = [found for text in texts for found in read_status_fields(text)]
    if not fields and may_report(message):  # a gateway has wrapped the report up in one of its own
        texts = [part.text for part in message.parts if part.is_original and _FIELDS.search(part.text)]
        fields = [found for text in texts for found in read_status_fields(text)]
    if not fields:
        return None
    notice = _notice(message)
    blocks = {block.address.lower(): block.text for block in blocks_of(notice, frozenset())}
    recipients = []
    for one in fields[:MAX_RECIPIENTS]:
        address = one.address if "@" in one.address else otherwise_named(message, notice) or one.address
        one = StatusFields(address, one.action, one.status, one.diagnostic, one.reporting_mta)
        rest = notice if len(fields) == 1 else lines_about(notice, address)
        recipients.append(judged(one, blocks.get(address.lower()) or rest))
    return Report(_kind(recipients), tuple(recipients), _reason(recipients))


def _kind(recipients: Sequence[Reported]) -> Kind:
    return Kind.BOUNCE if any(one.action is Action.FAILED for one in recipients) else Kind.DELAYED


def _reason(recipients: Sequence[Reported]) -> str:
    """Why a report of success or of a delay is no bounce."""
    actions = {one.action for one in recipients}
    return str(max(actions)) if actions and not actions & {Action.FAILED, Action.DELAYED, Action.NONE} else ""


def _of_words(message: Message) -> Report | None:
    """A report in plain words, or an automatic answer."""
    notice = _notice(message)
    named = [
        found
        for name in _FAILED_HEADERS
        for value in message.headers.all(name)
        for found in ADDRESS.findall(value[:8_000])
    ]
    if answers_itself(message, notice, bool(named)):
        return Report(Kind.AUTO_REPLY)
    if not (named or reports_failure(message, notice)):
        return None
    subject = message.headers.get("subject")[:500]
    delayed = any_of(signs.DELAY_WORDS).search(notice) is not None or (
        any_of(signs.DELAY_SUBJECT).search(subject) is not None and not _is_permanent(quoted_reply(notice))
    )
    action = Action.DELAYED if delayed else Action.FAILED
    recipients = _named_by_words(message, notice, named, action)
    return Report(Kind.DELAYED if delayed else Kind.BOUNCE, tuple(recipients))


def _is_permanent(reply: Quoted) -> bool:
    return reply.code >= 500 or reply.status.startswith("5")


def _named_by_words(message: Message, notice: str, named: list[str], action: Action) -> list[Reported]:
    ours = correspondents(message)
    blocks = blocks_of(notice, ours)
    if blocks and not (
        named and {one.lower() for one in named}.isdisjoint(block.address.lower() for block in blocks)
    ):
        session = _session(notice) if len(blocks) == 1 else ""
        return [
            judged(
                StatusFields(block.address, action, "", _better(block.text, session), ""),
                notice if len(blocks) == 1 or len(block.text) < _SAYS_LITTLE else block.text,
            )
            for block in blocks[:MAX_RECIPIENTS]
        ]
    addresses = (
        list(dict.fromkeys(named)) or named_in_line(notice, ours) or [otherwise_named(message, notice)]
    )
    recipients = []
    for address in addresses[:MAX_RECIPIENTS]:
        about = lines_about(notice, address) if len(addresses) > 1 else ""
        said = _session(about) or _session(notice)
        recipients.append(judged(StatusFields(address, action, "", said, ""), about or notice))
    return recipients


def _better(said: str, session: str) -> str:
    """What is said next to an address; a reply elsewhere in the notice, where that is none."""
    quoted = quoted_reply(said)
    return said if quoted.code or quoted.status or not session else session


def _session(notice: str) -> str:
    """The replies that a notice quotes, or the one within a line of it; empty if there is none."""
    if found := transcript_of(notice):
        return found
    quoted = quoted_reply(notice)
    return " ".join(notice[quoted.at : quoted.at + 500].split()) if quoted.code else ""


def _notice(message: Message) -> str:
    """The report's own words."""
    plain = [part for part in message.parts if part.content_type == "text/plain" and part.text.strip()]
    shown = plain or [
        part for part in message.parts if part.content_type == "text/html" and part.text.strip()
    ]
    return notice_of(shown[0].text.strip("\n")) if shown else ""
