"""Where attachments are kept, by the settings."""

from kannon.core.stored_objects import StorePlace
from kannon.runtime.settings import (
    ATTACHMENTS_ACCESS_KEY,
    ATTACHMENTS_ENDPOINT,
    ATTACHMENTS_REGION,
    ATTACHMENTS_SECRET_KEY,
    ATTACHMENTS_URL,
    Settings,
    SettingsError,
)


def store_place(settings: Settings) -> StorePlace | None:
    """The place that the settings name; None where they name none.

    Raises:
        SettingsError: one is malformed, or of a key and its secret only one is given.
    """
    url = settings.get(ATTACHMENTS_URL)
    key, secret = settings[ATTACHMENTS_ACCESS_KEY], settings[ATTACHMENTS_SECRET_KEY]
    if bool(key) != bool(secret):
        one, other = ATTACHMENTS_ACCESS_KEY, ATTACHMENTS_SECRET_KEY
        raise SettingsError(
            f"{one.key} ({one.variable}) and {other.key} ({other.variable}): one is given without the other"
        )
    if url is None:
        return None
    return StorePlace(
        url, settings.get(ATTACHMENTS_ENDPOINT) or "", settings[ATTACHMENTS_REGION], key, secret
    )
