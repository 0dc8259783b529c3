"""The keys of this process: given one by one, or derived from the installation secret."""

import base64

from kannon.core.keys import Purpose, subkey
from kannon.runtime.settings import (
    KEY_DKIM_KEYS,
    KEY_ENVELOPES,
    KEY_EVENTS,
    KEY_RETURN_PATHS,
    KEY_TRACKING_KEYS,
    KEY_WEBHOOK_SECRETS,
    SECRET,
    Setting,
    Settings,
    SettingsError,
)

SETTING_OF: dict[Purpose, Setting[bytes]] = {
    Purpose.EVENTS: KEY_EVENTS,
    Purpose.ENVELOPES: KEY_ENVELOPES,
    Purpose.RETURN_PATHS: KEY_RETURN_PATHS,
    Purpose.DKIM_KEYS: KEY_DKIM_KEYS,
    Purpose.TRACKING_KEYS: KEY_TRACKING_KEYS,
    Purpose.WEBHOOK_SECRETS: KEY_WEBHOOK_SECRETS,
}


def key_for(settings: Settings, purpose: Purpose) -> bytes:
    """The subkey for `purpose`: `keys.<purpose>` if it is given, else derived from `secret`.

    Raises:
        SettingsError: neither is given, or what is given cannot be a key.
    """
    setting = SETTING_OF[purpose]
    if (given := settings.get(setting)) is not None:
        return given
    secret = settings.get(SECRET)
    if secret is None:
        either = f"{setting.key} ({setting.variable}) or {SECRET.key} ({SECRET.variable})"
        raise SettingsError(f"{either} is required: {setting.help}")
    return subkey(secret.encode(), purpose)


def encode_key(key: bytes) -> str:
    """A key as its setting takes it."""
    return base64.urlsafe_b64encode(key).decode()
