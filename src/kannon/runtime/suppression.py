"""The rules of suppression, from the settings."""

from kannon.core.suppression import SuppressionRules
from kannon.runtime.settings import (
    SUPPRESSION_COMPLAINT,
    SUPPRESSION_HARD,
    SUPPRESSION_SOFT,
    SUPPRESSION_SOFT_AFTER,
    SUPPRESSION_SOFT_WINDOW,
    SUPPRESSION_UNSUBSCRIBE,
    Settings,
)


def suppression_rules(settings: Settings) -> SuppressionRules:
    """What suppresses, and for how long; raises SettingsError if a setting is malformed."""
    return SuppressionRules(
        hard=settings[SUPPRESSION_HARD],
        complaint=settings[SUPPRESSION_COMPLAINT],
        unsubscribe=settings[SUPPRESSION_UNSUBSCRIBE],
        soft=settings[SUPPRESSION_SOFT],
        soft_after=settings[SUPPRESSION_SOFT_AFTER],
        soft_window=settings[SUPPRESSION_SOFT_WINDOW],
    )
