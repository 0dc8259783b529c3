"""Suppression: which addresses a Domain no longer sends to, why, and until when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from kannon.core.addresses import canonical
from kannon.core.batches import Delivery, Outcome
from kannon.core.deliveries import DeliveryId
from kannon.core.erasure import ERASED

MAX_DETAIL: Final = 500
"""Characters."""


class Reason(StrEnum):
    """Why an address is suppressed, the strongest first: what its owner said counts above what an operator
    said, and that above what a machine said."""

    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"

    @property
    def strength(self) -> int:
        """The greater one wins where an address is suppressed for two reasons."""
        return len(Reason) - list(Reason).index(self)

    def forbids(self, is_ignored: bool) -> bool:
        """Whether mail is refused. What the caller says to ignore is ignored, but for a complaint.

        Args:
            is_ignored: whether the call asked for this Recipient to be sent to all the same.
        """
        return self is Reason.COMPLAINT or not is_ignored


class Source(StrEnum):
    """Who told what an address is suppressed for."""

    TRANSMISSION = "transmission"
    """An exchanger, while a mail was transmitted."""
    REPORT = "report"
    """A report that came back later."""
    RECIPIENT = "recipient"
    """The one who reads the mail, by unsubscribing."""
    OPERATOR = "operator"
    """Whoever has the admin token."""


NOT_OF_THE_ADDRESS: Final = frozenset(
    {"authentication", "bad-sender", "policy", "protocol", "rate-limited", "relay-denied", "too-large"}
)
"""Categories (`core.replies`) of what speaks of the sender or the mail: no soft bounces of an address."""


@dataclass(frozen=True, slots=True)
class SuppressionRules:
    """What suppresses, and for how long; None is for ever.

    Attributes:
        soft_after: so many soft bounces within `soft_window` suppress; 0: no number of them does.
    """

    hard: timedelta | None = timedelta(days=365)
    complaint: timedelta | None = None
    unsubscribe: timedelta | None = None
    soft: timedelta | None = timedelta(days=30)
    soft_after: int = 5
    soft_window: timedelta = timedelta(days=30)

    def end(self, reason: Reason, at: datetime) -> datetime | None:
        """When the suppression for what happened then expires; None: never."""
        lasts = {
            Reason.COMPLAINT: self.complaint,
            Reason.UNSUBSCRIBE: self.unsubscribe,
            Reason.MANUAL: None,
            Reason.HARD_BOUNCE: self.hard,
            Reason.SOFT_BOUNCE: self.soft,
        }[reason]
        try:
            return None if lasts is None else at + lasts
        except OverflowError:  # beyond the year 9999
            return None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that may suppress an address.

    Attributes:
        domain: that sends.
        address: in canonical form (`EmailAddress.canonical`).
        at: when it happened.
        delivery: that it is about; a soft bounce is always one's.
        message_id: of the Batch that it is about; empty if of none.
        detail: for people, such as the reply of an exchanger.
    """

    reason: Reason
    domain: str
    address: str
    at: datetime
    source: Source
    delivery: DeliveryId | None = None
    message_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that a Domain does not send to.

    Attributes:
        address: in canonical form.
        created_at: when that happened for which it is suppressed.
        expires_at: it is sent to again from then on; None: never.
        message_id: of the Batch that brought it about; empty if none did.
    """

    domain: str
    address: str
    reason: Reason
    source: Source
    created_at: datetime
    expires_at: datetime | None
    message_id: str = ""
    detail: str = ""

    def holds(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


def happening_of(outcome: Outcome) -> Happening | None:
    """What it means for its address that a Delivery bounced, or that its reader complained.

    Returns:
        None for any other Outcome, for what says nothing of the address, and where that was erased.
    """
    reason = _reason_of(outcome)
    if reason is None or outcome.recipient == ERASED:
        return None
    is_reported = reason is Reason.COMPLAINT or bool(outcome.data.get("late"))
    return Happening(
        reason=reason,
        domain=outcome.domain,
        address=canonical(outcome.recipient),
        at=outcome.at,
        source=Source.REPORT if is_reported else Source.TRANSMISSION,
        delivery=outcome.id,
        message_id=outcome.message_id,
        detail=_reply(outcome.data),
    )


def unsubscribed(delivery: Delivery, at: datetime) -> Happening | None:
    """What it means that the reader of a Delivery unsubscribed; None where the address was erased."""
    if delivery.is_erased:
        return None
    return Happening(
        reason=Reason.UNSUBSCRIBE,
        domain=delivery.domain,
        address=canonical(delivery.recipient),
        at=at,
        source=Source.RECIPIENT,
        delivery=delivery.id,
        message_id=delivery.message_id,
    )


def _reason_of(outcome: Outcome) -> Reason | None:
    if outcome.type == "complained":
        return Reason.COMPLAINT
    if outcome.type != "bounced":
        return None
    if outcome.data.get("hard"):
        return Reason.HARD_BOUNCE
    return None if outcome.data.get("category") in NOT_OF_THE_ADDRESS else Reason.SOFT_BOUNCE


def decide(happening: Happening, rules: SuppressionRules, soft_bounces: int = 0) -> Suppression | None:
    """The suppression that follows from what happened, or None.

    Args:
        soft_bounces: of the address within the window, this one included.
    """
    if happening.reason is Reason.SOFT_BOUNCE and not 0 < rules.soft_after <= soft_bounces:
        return None
    return suppressed_for(happening, rules)


def suppressed_for(happening: Happening, rules: SuppressionRules) -> Suppression:
    """The suppression for a reason that was found to be enough."""
    return Suppression(
        domain=happening.domain,
        address=happening.address,
        reason=happening.reason,
        source=happening.source,
        created_at=happening.at,
        expires_at=rules.end(happening.reason, happening.at),
        message_id=happening.message_id,
        detail=happening.detail,
    )


def merged(known: Suppression | None, new: Suppression, now: datetime) -> Suppression:
    """What is to be known of an address for which another suppression stands already.

    The stronger reason stays, with all that is known of it, the earlier told of two that are alike; and it
    lasts as long as either does. What has expired counts for nothing.
    """
    if known is None or not known.holds(now):
        return new
    stays = new if new.reason.strength > known.reason.strength else known
    ends = [one.expires_at for one in (known, new) if one.expires_at is not None]
    return replace(stays, expires_at=max(ends) if len(ends) == 2 else None)


def merged_by_address(suppressions: Iterable[Suppression], now: datetime) -> list[Suppression]:
    """One for each address, those that have expired left out, in the order of domain and address."""
    by_address: dict[tuple[str, str], Suppression] = {}
    for one in suppressions:
        if one.holds(now):
            place = (one.domain, one.address)
            by_address[place] = merged(by_address.get(place), one, now)
    return [by_address[place] for place in sorted(by_address)]


def _reply(data: Mapping[str, Any]) -> str:
    """What an exchanger said, as in `550 5.1.1 no such user`."""
    words = (str(data[name]) for name in ("code", "enhanced", "msg") if data.get(name))
    return " ".join(words)[:MAX_DETAIL]
