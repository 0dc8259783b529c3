"""What a peer answered, and what that means: the one table of judgements."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import Final

from kannon.core import reply_words as words


class Stage(StrEnum):
    """Where in the way to the exchanger a transmission ended."""

    DNS = "dns"  # no exchanger could be looked up
    ADDRESS = "address"  # the exchanger's addresses are forbidden (loopback, private, …)
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"  # after the message, before or instead of its reply
    EXPIRED = "expired"  # not tried: its time was over
    UNCONFIRMED = "unconfirmed"  # ambiguous more often than allowed
    REPORTED = "reported"  # a report told of it afterwards, and does not say where


class Verdict(StrEnum):
    """What a refusal means for the Delivery."""

    DEFERRED = "deferred"
    BOUNCED = "bounced"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a transmission did not end in 250.

    Attributes:
        code: the SMTP reply code (RFC 5321 §4.2), 0 if the peer gave none.
        enhanced: the enhanced status code (RFC 3463), empty if the peer gave none.
    """

    stage: Stage
    code: int
    enhanced: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why, and whether the address itself is to be written off (`hard`)."""

    verdict: Verdict
    category: str
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: it applies when every condition given holds.

    Attributes:
        codes: pattern over the reply code ("000" for none).
        enhanced: pattern over the enhanced code.
        text: patterns over the reply's text, any case; one of them is to be found.
    """

    judgement: Judgement
    stages: frozenset[Stage] | None = None
    codes: str = ""
    enhanced: str = ""
    text: tuple[str, ...] = ()

    def matches(self, refusal: Refusal) -> bool:
        """Whether this row speaks about `refusal`."""
        return (
            (self.stages is None or refusal.stage in self.stages)
            and (not self.codes or re.fullmatch(self.codes, f"{refusal.code:03}") is not None)
            and (not self.enhanced or re.fullmatch(self.enhanced, refusal.enhanced) is not None)
            and (not self.text or any_of(self.text).search(refusal.text) is not None)
        )


@cache
def any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern that finds what any of these finds, in any case."""
    return re.compile("|".join(patterns), re.IGNORECASE)


def _stages(*stages: Stage) -> frozenset[Stage]:
    return frozenset(stages)


def _deferred(category: str) -> Judgement:
    return Judgement(Verdict.DEFERRED, category)


def _hard(category: str) -> Judgement:
    return Judgement(Verdict.BOUNCED, category, hard=True)


def _soft(category: str) -> Judgement:
    return Judgement(Verdict.BOUNCED, category)


def _failed(category: str) -> Judgement:
    return Judgement(Verdict.FAILED, category)


_BEFORE_MAIL = _stages(Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS)
_OF_RECIPIENT = _stages(Stage.RCPT, Stage.REPORTED)
_NOT_OF_SENDER = frozenset(Stage) - {Stage.MAIL}

# The first row that matches decides. Ours first, then the enhanced code (it says most), then the words of
# peers that give none or a general one, then the reply code's first digit (RFC 5321 §4.2.1).
RULES: tuple[Rule, ...] = (
    # What never reached a peer, or is not a peer's answer.
    Rule(_failed("unconfirmed"), _stages(Stage.UNCONFIRMED)),
    Rule(_failed("expired"), _stages(Stage.EXPIRED)),
    Rule(_failed("forbidden-exchanger"), _stages(Stage.ADDRESS)),
    Rule(_hard("bad-domain"), _stages(Stage.DNS), enhanced=r"5\.1\.(2|10)"),
    Rule(_deferred("dns"), _stages(Stage.DNS)),
    # A 5xx before MAIL speaks of the host or of us, not of this mail (RFC 5321 §3.1): another day may do.
    Rule(_deferred("tls"), _stages(Stage.STARTTLS)),
    Rule(_deferred("connection"), _BEFORE_MAIL),
    Rule(_deferred("connection"), codes="000"),
    # Temporary answers, most telling first.
    Rule(_deferred("greylisted"), codes=r"4\d\d", text=words.GREYLISTED),
    Rule(_deferred("mailbox-full"), codes=r"4\d\d", enhanced=r"4\.2\.2"),
    Rule(_deferred("rate-limited"), codes=r"4\d\d", text=words.RATE),
    Rule(_deferred("policy"), codes=r"4\d\d", enhanced=r"4\.7\.\d+"),
    Rule(_deferred("temporary"), codes=r"4\d\d"),
    # RFC 5321 §4.5.3.1.10: an old 552 for too many recipients is to be treated as 452.
    Rule(_deferred("rate-limited"), codes="552", enhanced=r"5\.5\.3"),
    # Permanent answers by an enhanced code that says all; but some call each recipient refused a bad address.
    Rule(_soft("mailbox-full"), codes=r"5\d\d", enhanced=r"5\.1\.\d", text=words.MAILBOX_FULL),
    Rule(_soft("authentication"), codes=r"5\d\d", enhanced=r"5\.7\.(2[0-9]|30)"),
    Rule(_soft("bad-sender"), codes=r"5\d\d", enhanced=r"5\.1\.(7|8)"),
    Rule(_soft("mailbox-full"), codes=r"5\d\d", enhanced=r"5\.2\.2"),
    Rule(_soft("too-large"), codes=r"5\d\d", enhanced=r"5\.(2\.3|3\.4)"),
    Rule(_hard("moved"), _NOT_OF_SENDER, codes=r"5\d\d", enhanced=r"5\.1\.6"),
    Rule(_hard("bad-mailbox"), _NOT_OF_SENDER, codes=r"5\d\d", enhanced=r"5\.1\.(1|3)"),
    Rule(_hard("bad-domain"), codes=r"5\d\d", enhanced=r"5\.1\.2|5\.4\.(4|310)"),
    Rule(_hard("accepts-no-mail"), codes=r"521|556", enhanced=r"|5\.0\.0|5\.3\.2|5\.1\.10"),  # RFC 7504 §4
    Rule(_hard("accepts-no-mail"), codes=r"5\d\d", enhanced=r"5\.3\.2", text=words.ACCEPTS_NO_MAIL),
    Rule(_soft("expired"), codes=r"5\d\d", enhanced=r"5\.4\.7"),
    Rule(_soft("network"), codes=r"5\d\d", enhanced=r"5\.4\.(0|1|2|3|5|6)", text=words.NETWORK),
    # Permanent answers by their words, where the enhanced code is missing or says little.
    Rule(_soft("mailbox-full"), codes=r"5\d\d", text=words.MAILBOX_FULL),
    Rule(_hard("bad-mailbox"), codes=r"5\d\d", enhanced=r"5\.1\.10", text=words.UNKNOWN_USER),
    Rule(_hard("bad-domain"), codes=r"5\d\d", enhanced=r"5\.1\.10"),  # RFC 7505 §4.1
    Rule(_soft("authentication"), codes=r"5\d\d", text=words.AUTHENTICATION),
    Rule(_soft("too-large"), codes=r"5\d\d", text=words.TOO_LARGE),
    Rule(_soft("bad-sender"), codes=r"5\d\d", text=words.BAD_SENDER),
    Rule(_soft("no-reverse-name"), codes=r"5\d\d", text=words.NO_REVERSE_NAME),
    Rule(_hard("mailbox-disabled"), codes=r"5\d\d", enhanced=r"5\.2\.1", text=words.SURELY_UNKNOWN),
    Rule(_soft("mailbox-inactive"), codes=r"5\d\d", text=words.INACTIVE),
    Rule(_soft("rate-limited"), codes=r"5\d\d", text=words.RATE),
    Rule(_hard("mailbox-disabled"), codes=r"5\d\d", enhanced=r"5\.2\.1"),
    Rule(_hard("moved"), _OF_RECIPIENT, codes=r"5\d\d", text=words.MOVED),
    Rule(_hard("bad-mailbox"), _OF_RECIPIENT, codes=r"5\d\d", text=words.NOT_IN_DIRECTORY),
    Rule(_soft("network"), codes=r"5\d\d", text=words.NAME_SERVER_AWAY),
    Rule(_hard("bad-mailbox"), _stages(Stage.RCPT), codes=r"5\d\d", text=words.SURELY_UNKNOWN),
    Rule(_soft("policy"), codes=r"5\d\d", text=words.POLICY),
    Rule(_hard("accepts-no-mail"), _OF_RECIPIENT, codes=r"5\d\d", text=words.ACCEPTS_NO_MAIL),
    Rule(_hard("bad-domain"), _OF_RECIPIENT, codes=r"5\d\d", text=words.UNKNOWN_HOST),
    # A code of policy says more than that an address is *refused* or *unavailable*.
    Rule(_hard("bad-mailbox"), _stages(Stage.RCPT), r"5\d\d", r"(?!5\.7\.).*", words.UNKNOWN_USER),
    # Gateways that quote no code of the peer's call a recipient it refused 5.1.0, a mail 5.3.0.
    Rule(_hard("bad-mailbox"), _OF_RECIPIENT, codes=r"5\d\d", enhanced=r"5\.1\.0", text=words.UNKNOWN_USER),
    # Some peers take all recipients, and say this of mails that they filter after the final dot.
    Rule(_soft("bad-mailbox"), codes=r"5\d\d", text=words.UNKNOWN_USER),
    Rule(_soft("relay-denied"), codes=r"5\d\d", text=words.RELAY),
    Rule(_soft("expired"), codes=r"5\d\d", text=words.EXPIRED),
    Rule(_soft("network"), codes=r"5\d\d", text=words.NETWORK),
    Rule(_soft("system"), codes=r"5\d\d", text=words.SYSTEM),
    Rule(_hard("bad-mailbox"), _stages(Stage.RCPT), r"5\d\d", r"(?!5\.[37]\.).*", words.PERHAPS_UNKNOWN),
    # Permanent answers by what remains.
    Rule(_hard("bad-mailbox"), _NOT_OF_SENDER, codes=r"5\d\d", enhanced=r"5\.1\.0"),
    Rule(_soft("policy"), codes=r"5\d\d", enhanced=r"5\.7\.\d+"),
    Rule(_soft("network"), codes=r"5\d\d", enhanced=r"5\.4\.\d+"),
    Rule(_soft("system"), codes=r"5\d\d", enhanced=r"5\.3\.\d+"),
    Rule(_soft("protocol"), codes=r"50[0-4]"),
    Rule(_hard("bad-mailbox"), _stages(Stage.RCPT), codes=r"55[013]"),
    Rule(_soft("refused"), codes=r"5\d\d"),
    # A reply that no standard knows: neither yes nor no, so ask again.
    Rule(_deferred("protocol")),
)

UNSPECIFIC: Final = frozenset({"refused", "protocol", "temporary", "system"})
"""Categories that say little more than the reply code does."""

_NAMES = re.compile(r"https?://\S{1,500}|<?[\w.+%=-]{1,64}@[\w.-]{1,255}>?", re.IGNORECASE)
_TEXT = 2_000  # characters that are looked at


@lru_cache(maxsize=256)  # a chunk is full of the same answers
def judge(refusal: Refusal) -> Judgement:
    """What `refusal` means, by the first matching row of RULES.

    Addresses and URLs in its text are not looked at: a mailbox may be called `spam`.
    """
    text = _NAMES.sub(" ", refusal.text[:_TEXT])
    bare = Refusal(refusal.stage, refusal.code, refusal.enhanced, text)
    return next(rule.judgement for rule in RULES if rule.matches(bare))
