"""Failure reports in plain words: whom they name, and what they quote."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kannon.core.replies import Stage, any_of

MAX_LINES: Final = 600
MAX_LINE: Final = 1_000
MAX_NOTICE: Final = 20_000
"""Characters of a report's own words."""
MAX_TEXT: Final = 4_000
"""Characters in which a reply and its stage are looked for."""
MAX_BLOCKS: Final = 100

ORIGINAL_BEGINS: Final = (
    r"^[\s>|*=_+#-]{0,80}(below|after) this line is (a |the )?(copy|original)",
    r"^[\s>|*=_+#-]{0,80}(this is|enclosed is|below is|here is|attached is|following is|begin) (a |the )?(copy|original|header|text)\w{0,3} (of|message|text|from|or)",
    r"^[\s>|*=_+#-]{0,80}(start of |begin |begin of |the |your |text of |copy of |beginning of )?(the |your )?(original|returned|unsent|undelivered|rejected|bounced|failed|non-?delivered|included|source) (message|mail|e-?mail|text)(?! (was|to|from|sent|has|could|did|you|is too))",
    r"^[\s>|*=_+#-]{0,80}(the )?(message|original|mail) (header|text|body|contents|source|is attached)\w{0,2}( is| are)? ?(follow|below|attached|:|-)",
    r"^[\s>|*=_+#-]{0,80}(the )?(header|body|text|first \d{1,4} lines|copy) (line |lines )?of (the |your )?(original |returned |failed |undelivered |message|mail)",
    r"^[\s>|*=_+#-]{0,80}(original|urspr(ü|ue)ngliche|message d'origine|mensaje original|mensagem original|messaggio originale|исходное|оригинал)\w{0,3}( \w{1,12})?[\s:-]{1,40}$",
    r"^[\s>|*=_+#-]{0,80}message headers follow|^[\s>|*=_+#-]{0,80}unsent message|^[\s>|*=_+#-]{0,80}元の?(の)?メッセージ|^[\s>|*=_+#-]{0,80}原(始)?(邮件|信)",
    r"^[\s>|*=_+#-]{0,80}(your |the )?message begins\b|^[\s>|*=_+#-]{0,80}the headers? and (the )?(top|first) \d{1,4} lines",
    r"^([>|][ \t>|]{0,7})?(return-path|received|x-[\w-]{1,40}|message-id|mime-version|dkim-signature|delivered-to):[ \t]",
)
"""Of a line: from here on it is what was sent, not the report."""

# `<a@b>`, `a@b`, in quotes, after a bullet; what follows is up to the place where it is used.
_ADDRESS = r"[^\s<>()\[\],;:\"'|&\u3000-\u303f\uff00-\uff20]{1,64}@[\w.-]{1,255}[\w]"
_MAILBOX = rf"(?:<(?:mailto:)?({_ADDRESS})>|({_ADDRESS}))"
_IN_LINE = re.compile(_MAILBOX)
_BEGINS = re.compile(
    r"^[\s>*•·+|-]{0,20}(?:(?:to|recipients?|user|address|e-?mail|mailbox|failed recipient|final recipient|rcpt to|rcpt|"
    r"original recipient|intended recipient|recipient address|addressed to|empf(?:ä|ae)nger|destinataire|destinatario|宛先|收件人|получатель)"
    rf"\W{{1,12}})?[\"'(\[]?{_MAILBOX}[\"')\]]?\s{{0,4}}(?P<rest>.*)$",
    re.IGNORECASE,
)
_INLINE: Final = (
    r"rcpt to:\s{0,4}",
    r"\b(deliver(y|ed|ing)?|sent|sending|send|reach|message|mail|e-?mail)\b.{0,40}\b(to|for)\b:?\s{0,20}(\w{1,20}\s{1,4}){0,4}",
    r"\b(recipient|address|user|mailbox|account|destinataire|empf(ä|ae)nger|адрес\w{0,3}|宛先|收件人)\b(\(s\)|s|es)?\W{0,12}",
    r"\bto\b[:\s]{1,20}",
)
"""What an address follows within a line, the surest first."""

_REPLY = re.compile(
    r"(?<![\w.@/-])([45]\d\d)(?:(?:[ \t]{1,3}|-)#?([45]\.\d{1,3}\.\d{1,3})(?!\.?\d)|(?=[ \t]{1,3}[^\s\d])|(?=-[^\s\d])|(?=[\s\d\t]{0,4}$)|(?=:))"
)
_QUOTED = re.compile(
    r"(?:<<<|said:|reason:|replied:|returned:|responded:|response:|response from[^:\n]{0,80}:|was:|answer(?:ed)?:|error:|reply:|status:|"
    r"\bsmtp;|RCPT TO[^:\n]{0,80}:|\]:|\.{3} ?|:|\()\s{0,4}(?:\d\d\d )?([45]\d\d)(?=[\s\-#:,]|$)",
    re.IGNORECASE,
)
_STATUS = re.compile(r"(?<!version )(?<![\w./])([45]\.\d{1,3}\.\d{1,3})(?!\.?\d)")

_AFTER_DATA: Final = (
    r"in reply to (the )?end of data|in reply to data|after end of data|final data|after (I|we) sent the message|after (the )?(data|dot|sending)"
    r"|end of (mail )?data|>>> (data|\.)\s|\[(data|body|end of data)\]|at the data|message content|while sending (message )?body",
)
_AFTER_RCPT: Final = (
    r"in reply to (the )?rcpt|after rcpt|did not like our rcpt|>>> rcpt to|\[rcpt[_ ]to\]|does not like (the )?recipient|in response to (the )?rcpt|\bsmtp[:.]rcpt\b|to rcpt to\b"
    r"|(-->|\bsent:|\bc:) {0,3}rcpt to|\brcpt( to)? command|\b(sending|in) rcpt to\b|\brecipient verify",
)
_ABOUT_SENDER: Final = (
    r"in reply to (the )?mail from|after mail from|after (the )?initial connection|in reply to (the )?[eh][eh]lo|after [eh][eh]lo|"
    r"did not like our (mail|[eh][eh]lo)|>>> (mail from|[eh][eh]lo)|\[(mail_from|mail from|connect|connected|helo|ehlo|greeting)\]|does not like (the )?sender"
    r"|refused to talk to me|in reply to (the )?(greeting|banner)",
)
_NO_RECIPIENTS = re.compile(r"<<< 503\b|no valid recipients|need rcpt", re.IGNORECASE)
"""Where DATA is answered so, all recipients had been refused, and the replies before it are about them."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """An SMTP reply as it is quoted: 0 and empty for what is not there, and where it begins."""

    code: int = 0
    status: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """An address, and what is said of it."""

    address: str
    text: str


def notice_of(text: str) -> str:
    """A report's own words: what stands before the message that it returns."""
    kept: list[str] = []
    begins = any_of(ORIGINAL_BEGINS)
    said = False
    for line in text.split("\n")[:MAX_LINES]:
        line = line[:MAX_LINE].rstrip()
        if said and begins.search(line):
            break
        said = said or bool(line.strip())
        kept.append(line)
    return "\n".join(kept)[:MAX_NOTICE]


def returns_message(text: str) -> bool:
    """Whether a text goes over into the message that it returns."""
    lines = text.strip("\n").split("\n")[1:MAX_LINES]
    return any(any_of(ORIGINAL_BEGINS).search(line[:MAX_LINE]) for line in lines)


def lines_about(notice: str, address: str) -> str:
    """The lines in which an address stands, each with the line below it."""
    lines = notice.split("\n")
    name = address.lower()
    at = [index for index, line in enumerate(lines) if name in line.lower()] if name else []
    return "\n".join("\n".join(lines[index : index + 2]) for index in at[:10])


def blocks_of(notice: str, not_these: frozenset[str]) -> list[Block]:
    """Lines that begin with an address, each with the lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for line in notice.split("\n"):
        begins = _BEGINS.match(line)
        address = (begins[1] or begins[2] or "").rstrip(".") if begins else ""
        if begins and address and address.lower() not in not_these and _may_begin(begins["rest"]):
            known = next((lines for name, lines in found if name.lower() == address.lower()), None)
            if known is None:
                if len(found) == MAX_BLOCKS:
                    break
                found.append((address, [begins["rest"]]))
            else:
                known.append(begins["rest"])
        elif found:
            found[-1][1].append(line)
    return [Block(address, _one_line(lines)) for address, lines in found]


def named_in_line(notice: str, not_these: frozenset[str]) -> list[str]:
    """Addresses that stand within sentences where one speaks of recipients; of the surest kind there is."""
    for before in _INLINE:
        pattern = re.compile(rf"(?:{before})[\"'(\[]?{_MAILBOX}", re.IGNORECASE)
        found: dict[str, None] = {}
        for line in notice.split("\n"):
            for match in pattern.finditer(line):
                address = next(group for group in match.groups()[::-1] if group and "@" in group).rstrip(".")
                if address.lower() not in not_these:
                    found.setdefault(address)
        if found:
            return list(found)[:MAX_BLOCKS]
    return []


def any_address(text: str, not_these: frozenset[str]) -> str:
    """The first address there is; or nothing."""
    for match in _IN_LINE.finditer(text):
        address = (match[1] or match[2]).rstrip(".")
        if address.lower() not in not_these:
            return address
    return ""


def quoted_reply(text: str) -> Quoted:
    """The SMTP reply that a text quotes: the one with an enhanced code first, then one after a colon or the like."""
    text = text[:MAX_TEXT]
    best = Quoted()
    for found in _REPLY.finditer(text):
        if found[2]:
            return Quoted(int(found[1]), found[2], found.start())
        if not best.code and (found.start() == 0 or text[found.start() - 1] == "\n"):
            best = Quoted(int(found[1]), at=found.start())
    if not best.code and (quoted := _QUOTED.search(text)):
        best = Quoted(int(quoted[1]), at=quoted.start(1))
    if not best.code and (plain := _REPLY.search(text)):
        best = Quoted(int(plain[1]), at=plain.start())
    status = _STATUS.search(text)
    return Quoted(best.code, status[1] if status else "", best.at)


def stage_of(text: str) -> Stage:
    """Where in the session the reply was given, as far as it changes what it means."""
    text = text[:MAX_TEXT]
    if any_of(_AFTER_DATA).search(text) and not _NO_RECIPIENTS.search(text):
        return Stage.DOT
    if any_of(_ABOUT_SENDER).search(text):
        return Stage.MAIL
    if any_of(_AFTER_RCPT).search(text):
        return Stage.RCPT
    return Stage.REPORTED


def transcript_of(notice: str) -> str:
    """Replies in a quoted session: lines after `<<<`, or those that begin with a reply code."""
    lines = [line.strip() for line in notice.split("\n")]
    replies = [
        line.removeprefix("<<<").strip() for line in lines if re.match(r"<<< ?[45]\d\d|[45]\d\d[ -]", line)
    ]
    return _one_line(replies)


def _may_begin(rest: str) -> bool:
    """Whether what follows an address lets it be one that a report is about, not the beginning of a sentence."""
    return (
        not rest
        or rest[0] in ":;,.-(<[=…>\"'"
        or not re.match(r"(wrote|schrieb|a écrit|said)\b", rest, re.IGNORECASE)
    )


def _one_line(lines: Iterable[str] | Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())[:2_000]
