"""Complaints in the Abuse Reporting Format (RFC 5965), and the older ones that are none."""

import re

from kannon.core.replies import any_of
from kannon.core.reports.entities import Message, read_headers
from kannon.core.reports.signs import ANSWERED
from kannon.core.reports.values import Action, Kind, Report, Reported

_FEEDBACK = re.compile(r"^Feedback-Type[ \t]{0,4}:[ \t]{0,8}[\w-]", re.MULTILINE | re.IGNORECASE)
_AGENT = re.compile(r"^(User-Agent|Version)[ \t]{0,4}:", re.MULTILINE | re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s<>(),;:\"]{1,64}@[\w.-]{1,255}\w")
_NAMED = ("original-rcpt-to", "removal-recipient", "x-hmxmroriginalrecipient", "redacted-address")


def read_complaint(message: Message) -> Report | None:
    """The complaint that a message is, or None."""
    fields = next((part.text for part in message.parts if part.content_type == "message/feedback-report"), "")
    if not fields and message.parameters.get("report-type", "").lower() == "feedback-report":
        fields = next(
            (part.text for part in message.parts if _FEEDBACK.search(part.text)), "Feedback-Type: abuse"
        )
    if not fields and not any_of(ANSWERED).search(message.headers.get("subject")[:500]):
        fields = _in_plain_words(message)
    if not fields and _is_of_jmrp(message):
        fields = "Feedback-Type: abuse"
    if not fields and message.headers.get("x-apple-unsubscribe").lower() == "true":
        fields = "Feedback-Type: opt-out"
    if not fields:
        return None
    report = read_headers(fields.strip().replace("\n\n", "\n"))
    category = report.get("feedback-type").lower()[:40] or "abuse"
    reporting_mta = report.get("reporting-mta").rpartition(";")[2].strip()[:255]
    if category == "not-spam":  # RFC 6430: the contrary of a complaint
        return Report(Kind.UNRECOGNISED, reason="not-spam")
    return Report(
        Kind.COMPLAINT,
        tuple(
            Reported(address, Action.NONE, category=category, reporting_mta=reporting_mta)
            for address in _complainants([*report.fields, *message.headers.fields], message)
        ),
    )


def _in_plain_words(message: Message) -> str:
    """The fields of a report, in a part that is not declared as such, beside the mail complained of."""
    if not any(part.is_original for part in message.parts):
        return ""
    plain = (part.text[:20_000] for part in message.parts if part.content_type == "text/plain")
    return next((text for text in plain if _FEEDBACK.search(text) and _AGENT.search(text)), "")


def _is_of_jmrp(message: Message) -> bool:
    """Whether it is one of Microsoft's: the mail complained of, attached, with a field of theirs in it."""
    return any(
        part.is_original and "x-hmxmroriginalrecipient:" in part.text[:20_000].lower()
        for part in message.parts
    ) or message.headers.get("subject").strip().lower().startswith("complaint about message from ")


def _complainants(fields: list[tuple[str, str]], message: Message) -> list[str]:
    """Who complains, as far as that is said: in fields of the report, or in whom the mail was to."""
    named = dict.fromkeys(
        found[0] for name, value in fields if name in _NAMED and (found := _ADDRESS.search(value[:1_000]))
    )
    if named:
        return list(named)[:100]
    originals = [read_headers(part.text.lstrip("\n")) for part in message.parts if part.is_original]
    for name in ("x-hmxmroriginalrecipient", "to"):
        for original in originals:
            if found := _ADDRESS.search(original.get(name)[:1_000]):
                return [found[0]]
    return [""]
