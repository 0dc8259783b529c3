"""The keys of tracking tokens, in memory. It keeps to the same contract suite as those in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from kannon.core.errors import LedgerUnavailable
from kannon.core.tracking.keys import DatedKey, Span, next_span
from kannon.core.tracking.tokens import SigningKey


@dataclass
class FakeTrackingKeys:
    """Keys and when they sign, the oldest first; `away` makes it answer nothing.

    Attributes:
        looks: how often keys were read.
    """

    kept: list[tuple[DatedKey, Span]] = field(default_factory=list)
    away: bool = False
    looks: int = 0
    _numbers: count = field(default_factory=lambda: count(1))

    async def signing_keys(self) -> Sequence[DatedKey]:
        """See `ports.SigningKeys`."""
        self._check_there()
        self.looks += 1
        return [key for key, _ in self.kept]

    async def rotate(self, now: datetime) -> bool:
        """See `ports.SigningKeys`."""
        self._check_there()
        span = next_span(self.kept[-1][1] if self.kept else None, now)
        if span is not None:
            self._add(span)
        self.kept = [one for one in self.kept[:-1] if one[1].over_at > now] + self.kept[-1:]
        return span is not None

    async def public_keys(self) -> Mapping[str, bytes]:
        """See `ports.PublicKeys`."""
        self._check_there()
        self.looks += 1
        return {key.kid: SigningKey(key.kid, key.seed).public for key, _ in self.kept}

    def _add(self, span: Span) -> None:
        if self.kept:
            last, signs = self.kept[-1]
            self.kept[-1] = (last, replace(signs, end=span.start))
        number = next(self._numbers)
        self.kept.append((DatedKey(f"key{number}", number.to_bytes(32, "big"), span.start), span))

    def _check_there(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")
