"""How much a Domain may send."""

from dataclasses import dataclass
from typing import Final

from kannon.core.errors import BadInput, LimitReached


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for a Domain; 0: no limit.

    Attributes:
        mails_per_minute: accepted Recipients within a minute of the ledger's clock.
        mails_per_day: accepted Recipients within a day, UTC.
        recipients_per_call: Recipients of one call, refused ones included.
    """

    mails_per_minute: int = 0
    mails_per_day: int = 0
    recipients_per_call: int = 0

    @property
    def count_mails(self) -> bool:
        """Whether mails must be counted."""
        return bool(self.mails_per_minute or self.mails_per_day)


UNLIMITED: Final = Limits()


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """What was set for one Domain; None: as the settings say."""

    mails_per_minute: int | None = None
    mails_per_day: int | None = None
    recipients_per_call: int | None = None

    def over(self, defaults: Limits) -> Limits:
        """What holds for it."""
        return Limits(
            _either(self.mails_per_minute, defaults.mails_per_minute),
            _either(self.mails_per_day, defaults.mails_per_day),
            _either(self.recipients_per_call, defaults.recipients_per_call),
        )


@dataclass(frozen=True, slots=True)
class MailCount:
    """What a Domain has sent, the call at hand included.

    Attributes:
        minute_left, day_left: seconds until the next begins.
    """

    in_minute: int
    in_day: int
    minute_left: float
    day_left: float


def check_recipients(recipients: int, limits: Limits) -> None:
    """Raises BadInput if a call has more Recipients than one may have."""
    if 0 < limits.recipients_per_call < recipients:
        raise BadInput(
            f"recipients: must not be more than {limits.recipients_per_call} in one call of this domain"
        )


def check_mails(mails: int, limits: Limits) -> None:
    """Raises BadInput if a call sends more mails than the Domain may in any minute or day."""
    for limit, span in ((limits.mails_per_minute, "minute"), (limits.mails_per_day, "day")):
        if 0 < limit < mails:
            raise BadInput(f"recipients: {mails} are more than the {limit} mails a {span} of this domain")


def check_count(count: MailCount, mails: int, limits: Limits) -> None:
    """Raises LimitReached if a call, counted already, goes beyond a limit.

    Args:
        mails: those of the call.
    """
    if 0 < limits.mails_per_day < count.in_day:
        raise _reached(limits.mails_per_day, count.in_day - mails, "day", count.day_left)
    if 0 < limits.mails_per_minute < count.in_minute:
        raise _reached(limits.mails_per_minute, count.in_minute - mails, "minute", count.minute_left)


def _reached(limit: int, used: int, span: str, seconds: float) -> LimitReached:
    return LimitReached(f"the domain has sent {used} of its {limit} mails of this {span}", seconds)


def _either(own: int | None, default: int) -> int:
    return default if own is None else own
