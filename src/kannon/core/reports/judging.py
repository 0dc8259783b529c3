"""One recipient, judged by what a report says of it."""

from typing import Final

from kannon.core.replies import UNSPECIFIC, Judgement, Refusal, Verdict, judge
from kannon.core.reports.notices import quoted_reply, stage_of
from kannon.core.reports.status_fields import StatusFields
from kannon.core.reports.values import Action, Reported

MAX_TEXT: Final = 1_000
"""Characters of a recipient's text."""
JUDGED: Final = 500
"""Characters of it that are judged: there may be many recipients, and each costs."""


def judged(fields: StatusFields, notice: str) -> Reported:
    """One recipient, judged by what is said of it; where that is not enough, by all that the notice says."""
    words = fields.diagnostic or notice
    quoted = quoted_reply(words)
    if not quoted.code and fields.diagnostic and notice:
        quoted = quoted_reply(notice) if not quoted.status else quoted
    action = fields.action if fields.action is not Action.NONE else _action_of(fields.status or quoted.status)
    status = _status(action, fields.status, quoted.status, quoted.code)
    judgement = _judgement(action, status, quoted.code, words, notice)
    return Reported(
        fields.address,
        action,
        status,
        quoted.code,
        judgement.category,
        judgement.hard,
        " ".join(words.split())[:MAX_TEXT],
        fields.reporting_mta,
    )


def _action_of(status: str) -> Action:
    return Action.DELIVERED if status.startswith("2") else Action.FAILED


def _status(action: Action, told: str, quoted: str, code: int) -> str:
    """The most telling status: one in the field, unless it is a general one and the peer had a better one."""
    if action in (Action.FAILED, Action.DELAYED):
        if quoted and quoted[1:] != ".0.0" and (not told or quoted[0] == told[0]):
            return quoted
        if told and told[0] != "2":
            return told
        if code:
            return f"{code // 100}.0.0"
        return "4.0.0" if action is Action.DELAYED else "5.0.0"
    return told or quoted or "2.0.0"


def _judgement(action: Action, status: str, code: int, words: str, notice: str) -> Judgement:
    if action not in (Action.FAILED, Action.DELAYED):
        return Judgement(Verdict.DEFERRED, str(action))
    if action is Action.FAILED:  # it is over, also where the last answer was a temporary one
        status = "5" + status[1:]
        code = code if code >= 500 else 554
    else:
        code = code if 400 <= code < 500 else 450
    stage = stage_of(words + "\n" + notice)
    at = quoted_reply(words).at
    texts = dict.fromkeys((words[at : at + JUDGED], words[:JUDGED], notice))
    found = [judge(Refusal(stage, code, status, text)) for text in texts]
    return next((one for one in found if one.category not in UNSPECIFIC), found[0])
