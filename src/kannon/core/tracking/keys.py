"""Which key signs a tracking token, and when there is a new one.

Keys follow one another without a gap. A token is signed by the key of the time that its mail is of, not by
that of the present: so a mail that is built again, by whichever process, has the same tokens. That time is
told by the token's expiry, which lies a token's life after it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kannon.core.tracking.claims import Claims
from kannon.core.tracking.tokens import SigningKey

TOKEN_LIFE: Final = timedelta(days=92)
"""From the time that a mail is of: three months, however long they are."""
KEY_LIFE: Final = timedelta(days=30)
"""For so long a key signs what is sent."""
MADE_AHEAD: Final = timedelta(days=7)
"""A key is made so long before it is the one that signs: by then each process has it."""
KNOWN_WITHIN: Final = timedelta(hours=2)
"""A key that comes late does not sign for so long after it was made; processes look twice as often."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a key signs: mails of a time from `start` on and before `end`.

    Tokens of the key live for a while beyond that, and it is to be kept for as long.
    """

    start: datetime
    end: datetime

    @property
    def over_at(self) -> datetime:
        """From then on no token lives that the key has signed."""
        return self.end + TOKEN_LIFE


def next_span(last: Span | None, now: datetime) -> Span | None:
    """When the next key is to sign; None if it is too early to make one.

    It may be later than the end of the last, if long none was made: then that one signs until then.

    Args:
        last: of the newest key; None if there is none.
    """
    if last is None:
        return Span(now, now + KEY_LIFE)
    if now < last.end - MADE_AHEAD:
        return None
    start = max(last.end, now + KNOWN_WITHIN)
    return Span(start, start + KEY_LIFE)


@dataclass(frozen=True, slots=True)
class DatedKey:
    """A key, and from when on it signs.

    Attributes:
        seed: its private half, 32 octets, opened.
    """

    kid: str
    seed: bytes
    start: datetime


class KeyRing:
    """All keys that may have to sign.

    Args:
        keys: at least one.
    """

    def __init__(self, keys: Sequence[DatedKey]) -> None:
        ordered = sorted(keys, key=lambda key: key.start)
        self._keys = [SigningKey(key.kid, key.seed) for key in ordered]
        life = TOKEN_LIFE.total_seconds()
        self._later = [key.start.timestamp() + life for key in ordered[1:]]

    def mint(self, claims: Claims) -> str:
        """The token that says `claims`; raises as `SigningKey.mint` does."""
        return self._keys[bisect_right(self._later, claims.expires_at)].mint(claims)
