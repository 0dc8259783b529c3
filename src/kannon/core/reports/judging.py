"""One recipient, judged by what a report says of it."""

import re
from typing import Final

from kannon.core.replies import UNSPECIFIC, Judgement, Refusal, Stage, Verdict, any_of, judge
from kannon.core.reply_words import SURELY_UNKNOWN
from kannon.core.reports.notices import quoted_reply, stage_of
from kannon.core.reports.status_fields import StatusFields
from kannon.core.reports.values import Action, Reported

MAX_TEXT: Final = 1_000
"""Characters of a recipient's text."""
JUDGED: Final = 500
"""Characters of it that are judged: there may be many recipients, and each costs."""
_OF_MAILBOXES: Final = (550, 551, 553)
_NOT_FOR_GOOD: Final = re.compile(r"4\.(1\.\d{1,3}|2\.1|4\.4)")
"""Codes that, in the class of permanent failures, would write an address off by themselves."""


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
        if quoted and quoted[1:] != ".0.0" and (not told or quoted[0] == told[0] or told[1:] == ".0.0"):
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
    stage = stage_of(words + "\n" + notice)
    at = quoted_reply(words).at
    texts = tuple(dict.fromkeys((words[at : at + JUDGED], words[:JUDGED], notice)))
    if status.startswith("4"):
        temporary = _of_texts(stage, code if 400 <= code < 500 else 450, status, texts)
        if action is Action.DELAYED or temporary.category not in UNSPECIFIC:
            return temporary
    if action is Action.DELAYED:
        return _of_texts(stage, 450, status, texts)
    # It is over, also where the last answer was a temporary one.
    over = "5.0.0" if _NOT_FOR_GOOD.fullmatch(status) else "5" + status[1:]
    judgement = _of_texts(stage, code if code >= 500 else 554, over, texts)
    if status.startswith("4") and judgement.category == "bad-mailbox" and not _names_nobody(texts):
        return temporary
    return judgement


def _names_nobody(texts: tuple[str, ...]) -> bool:
    """Whether one says that there is no such mailbox, and not only that it does not take mail now."""
    return any(any_of(SURELY_UNKNOWN).search(text) for text in texts)


def _of_texts(stage: Stage, code: int, status: str, texts: tuple[str, ...]) -> Judgement:
    """The judgement of the first text that says something; a code alone that others tell of is never hard."""
    code = 554 if code in _OF_MAILBOXES else code
    found = [judge(Refusal(stage, code, status, text)) for text in texts]
    return next((one for one in found if one.category not in UNSPECIFIC), found[0])
