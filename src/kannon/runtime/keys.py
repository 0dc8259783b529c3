"""The keys of this process: given one by one, or derived from the installation secret."""

import base64
import binascii

from kannon.core.keys import KEY_BYTES, Purpose, subkey
from kannon.runtime.settings import (
    KEY_DKIM_KEYS,
    KEY_ENVELOPES,
    KEY_EVENTS,
    KEY_RETURN_PATHS,
    SECRET,
    Setting,
    Settings,
    SettingsError,
)

SETTING_OF: dict[Purpose, Setting[str]] = {
    Purpose.EVENTS: KEY_EVENTS,
    Purpose.ENVELOPES: KEY_ENVELOPES,
    Purpose.RETURN_PATHS: KEY_RETURN_PATHS,
    Purpose.DKIM_KEYS: KEY_DKIM_KEYS,
}


def key_for(settings: Settings, purpose: Purpose) -> bytes:
    """The subkey for `purpose`: `keys.<purpose>` if it is given, else derived from `secret`.

    Raises:
        SettingsError: neither is given, or what is given cannot be a key.
    """
    setting = SETTING_OF[purpose]
    if given := settings.get(setting):
        return _decoded(setting, given)
    secret = settings.get(SECRET)
    if not secret:
        either = f"{setting.key} ({setting.variable}) or {SECRET.key} ({SECRET.variable})"
        raise SettingsError(f"{either} is required: {setting.help}")
    try:
        return subkey(secret.encode(), purpose)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def encode_key(key: bytes) -> str:
    """A key as its setting takes it."""
    return base64.urlsafe_b64encode(key).decode()


def _decoded(setting: Setting[str], written: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(written)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{setting.key} ({setting.variable}) must be {KEY_BYTES} bytes in URL-safe base64, "
            "as `kannon keys` prints them"
        )
    return key
