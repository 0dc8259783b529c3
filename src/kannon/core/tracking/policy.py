"""Tracking Policy: how much is learnt of who opens a mail, and of who follows its links."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


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


UNTRACKED: Final = Policy(Mode.OFF, Mode.OFF)
DEFAULT_POLICY: Final = Policy(Mode.IDENTIFIED, Mode.IDENTIFIED)
"""That of a Domain which stated none."""
