"""Tracking Policies, as the API states them: what holds for a call, and for each of its Recipients."""

from typing import Final

from kannon.adapters.pb.mailer_pb2 import SendHTMLReq, SendTemplateReq
from kannon.adapters.pb.tracking_pb2 import TrackingMode, TrackingPolicy
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.errors import BadInput
from kannon.core.tracking.policy import UNTRACKED, AboveCeiling, Mode, Policy, Stated, narrowed
from kannon.ports import Directory

_KNOWN: Final = {mode.value: mode for mode in Mode}


class UnknownMode(BadInput):
    """A mode that is none of ours, such as one of a later version."""

    def __init__(self, channel: str, number: int) -> None:
        allowed = ", ".join(mode.name.lower() for mode in Mode)
        super().__init__(f"{channel}: there is no mode {number}, but {allowed}")


def read_stated(policy: TrackingPolicy) -> Stated:
    """What a policy states; a mode that is not given states nothing.

    Raises:
        UnknownMode: it has a mode that is none.
    """
    return Stated(_read("opens", policy.opens), _read("links", policy.links))


def read_policy(policy: TrackingPolicy) -> Policy:
    """The policy of a Domain: what it does not state is off, for a ceiling must be somewhere.

    Raises:
        BadInput: it has a mode that is none.
    """
    try:
        stated = read_stated(policy)
    except UnknownMode as error:
        raise BadInput(f"tracking.{error}") from None
    return Policy(stated.opens or Mode.OFF, stated.links or Mode.OFF)


def write_policy(policy: Policy) -> TrackingPolicy:
    """A policy as answers have it."""
    return TrackingPolicy(
        opens=TrackingMode.ValueType(policy.opens), links=TrackingMode.ValueType(policy.links)
    )


class Ceilings:
    """What Domains allow; looked up each time, so that a change counts from the next call on."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def of(self, domain: str) -> Policy:
        """The Domain's policy; raises LedgerUnavailable."""
        record = await self._directory.domain(domain)
        return record.tracking if record else UNTRACKED


class TrackingRules:
    """What may be learnt of the readers of one call.

    Args:
        ceiling: the Domain's policy.

    Attributes:
        policy: that of the Batch.

    Raises:
        BadInput: the call asks for more than the Domain allows, or for a mode that is none.
    """

    def __init__(self, ceiling: Policy, request: SendHTMLReq | SendTemplateReq) -> None:
        self._ceiling = ceiling
        try:
            self.policy = narrowed(ceiling, read_stated(request.tracking), ceiling)
        except (AboveCeiling, UnknownMode) as error:
            raise BadInput(f"tracking.{error}") from None

    def of(self, recipient: Recipient) -> Policy | None:
        """What may be learnt of a Recipient; None: what the Batch says.

        Raises:
            AboveCeiling: it asks for more than the Domain allows.
            UnknownMode: it asks for a mode that is none.
        """
        if not recipient.HasField("tracking"):
            return None
        policy = narrowed(self.policy, read_stated(recipient.tracking), self._ceiling)
        return None if policy == self.policy else policy


def _read(channel: str, number: int) -> Mode | None:
    if number == TrackingMode.TRACKING_MODE_UNSPECIFIED:
        return None
    if number not in _KNOWN:
        raise UnknownMode(channel, number)
    return _KNOWN[number]
