"""Tracking Policy: how much is learnt of who opens a mail, and of who follows its links.

A Domain states one, and a Batch and a Recipient can. The Domain's is the ceiling of the other two: who asks
for more is refused, and else the least that is asked for holds, for opens and links apart.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from kannon.core.errors import BadInput


class Mode(IntEnum):
    """How much is learnt, from nothing to all; the numbers are the wire's."""

    OFF = 1
    ANONYMOUS = 2
    PSEUDONYMOUS = 3
    IDENTIFIED = 4
    FULL = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """A mode for opens, and one for links."""

    opens: Mode
    links: Mode

    @property
    def digits(self) -> int:
        """As the ledger keeps it: that of opens, then that of links."""
        return self.opens * 10 + self.links

    @classmethod
    def of_digits(cls, digits: int) -> Self:
        """What `digits` gave; raises ValueError if it never did."""
        return cls(Mode(digits // 10), Mode(digits % 10))


UNTRACKED: Final = Policy(Mode.OFF, Mode.OFF)
DEFAULT_POLICY: Final = Policy(Mode.IDENTIFIED, Mode.IDENTIFIED)
"""That of a Domain which stated none."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a Batch or a Recipient states of its own; None: nothing, and so no restriction."""

    opens: Mode | None = None
    links: Mode | None = None


UNSTATED: Final = Stated()


class AboveCeiling(BadInput):
    """More is asked for than the Domain allows; its text names channel, mode and what is allowed."""

    def __init__(self, channel: str, asked: Mode, ceiling: Mode) -> None:
        super().__init__(
            f"{channel}: {asked.name.lower()} is more than the domain allows, which is {ceiling.name.lower()}"
        )


def narrowed(policy: Policy, stated: Stated, ceiling: Policy) -> Policy:
    """What holds where a level states something of its own.

    Args:
        policy: what holds at the level above.
        ceiling: the Domain's.

    Raises:
        AboveCeiling: it states more than the ceiling; not if it only states more than the level above.
    """
    return Policy(
        opens=_narrowed("opens", policy.opens, stated.opens, ceiling.opens),
        links=_narrowed("links", policy.links, stated.links, ceiling.links),
    )


def _narrowed(channel: str, mode: Mode, stated: Mode | None, ceiling: Mode) -> Mode:
    if stated is None:
        return mode
    if stated > ceiling:
        raise AboveCeiling(channel, stated, ceiling)
    return min(mode, stated)
