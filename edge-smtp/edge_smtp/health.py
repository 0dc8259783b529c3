"""Whether an exchanger is left alone for a while: after failures in a row, for longer each time."""

from collections.abc import Callable
from dataclasses import dataclass

from kannon.core.replies import Refusal, Stage


@dataclass(frozen=True, slots=True)
class Patience:
    """When an exchanger is suspended, and for how long.

    Attributes:
        failures: so many in a row suspend it.
        first: seconds of the first suspension; each that follows without a success is twice as long.
        longest: seconds of the longest.
    """

    failures: int = 4
    first: float = 10.0
    longest: float = 1800.0


@dataclass(slots=True)
class Health:
    """How one exchanger has fared. Times are seconds of one clock that only grows.

    Attributes:
        failures: in a row.
        reason: of the last failure, for people; it names no recipient.
        until: when it is probed next; 0.0 while it is not suspended.
        is_probed: the one transmission that may try it is under way.
    """

    failures: int = 0
    reason: str = ""
    until: float = 0.0
    is_probed: bool = False
    wait: float = 0.0

    def may_be_tried(self, now: float) -> bool:
        """Whether a transmission may begin; while it is suspended only one may, and that is the probe."""
        return not self.until or (now >= self.until and not self.is_probed)

    def begin(self) -> bool:
        """A transmission begins; returns whether it is the probe."""
        self.is_probed = self.until > 0.0
        return self.is_probed

    def succeeded(self) -> bool:
        """It answered, whoever asked; returns whether that ends a suspension."""
        ended = self.until > 0.0
        self.failures, self.reason, self.until, self.is_probed, self.wait = 0, "", 0.0, False, 0.0
        return ended

    def failed(
        self, reason: str, now: float, patience: Patience, *, is_probe: bool, spread: Callable[[], float]
    ) -> bool:
        """It was not reached, or broke off.

        What began before a suspension and fails in it says nothing new: only the probe prolongs it.

        Args:
            spread: from 0.0 up to 1.0; keeps exchangers, and edges, from being probed in step.

        Returns:
            Whether a suspension begins or is prolonged.
        """
        self.failures += 1
        self.reason = reason
        if self.until and not is_probe:
            return False
        self.is_probed = False
        if not self.until and self.failures < patience.failures:
            return False
        self.wait = min(max(2 * self.wait, patience.first), patience.longest)
        self.until = now + self.wait * (1.0 - 0.2 * spread())
        return True

    def unknown(self, *, is_probe: bool) -> None:
        """A transmission ended that says nothing of the exchanger; another may probe it."""
        if is_probe:
            self.is_probed = False


def failure_of(refusal: Refusal) -> str:
    """Why `refusal` speaks of the exchanger and not of the mail, without the peer's words about a mail.

    It does so before MAIL, where nothing was answered, and with 421 at any stage (RFC 5321 §3.8). An address
    that is missing or forbidden is no failure: nothing was tried, and each mail shall hear it at once.

    Returns:
        Empty if it speaks of the mail.
    """
    if refusal.stage in _BEFORE_MAIL:
        return f"{refusal.stage.value}: {refusal.code or ''} {refusal.text}".replace("  ", " ")
    if refusal.stage in _WITH_MAIL and refusal.code in (0, 421):
        return f"{refusal.stage.value}: {refusal.code or refusal.text}"
    return ""


_BEFORE_MAIL = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS})
_WITH_MAIL = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT})
