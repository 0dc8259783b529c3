"""Who runs an exchanger, by its name."""

from functools import lru_cache
from typing import Final

_KNOWN: Final = {
    "google.com": "google",
    "googlemail.com": "google",
    "outlook.com": "microsoft",
    "hotmail.com": "microsoft",
    "office365.us": "microsoft",
    "yahoodns.net": "yahoo",
    "icloud.com": "apple",
    "apple.com": "apple",
    "gmx.net": "gmx",
    "web.de": "web.de",
    "kundenserver.de": "ionos",
    "perfora.net": "ionos",
    "t-online.de": "telekom",
    "orange.fr": "orange",
    "wanadoo.fr": "orange",
    "free.fr": "free",
    "libero.it": "libero",
    "mail.ru": "mail.ru",
    "yandex.net": "yandex",
    "yandex.ru": "yandex",
    "qq.com": "qq",
    "163.com": "netease",
    "protonmail.ch": "proton",
    "zoho.com": "zoho",
    "zoho.eu": "zoho",
    "messagingengine.com": "fastmail",
    "comcast.net": "comcast",
    "mimecast.com": "mimecast",
    "pphosted.com": "proofpoint",
    "ppe-hosted.com": "proofpoint",
    "barracudanetworks.com": "barracuda",
    "messagelabs.com": "symantec",
    "iphmx.com": "cisco",
    "ovh.net": "ovh",
    "secureserver.net": "godaddy",
    "emailsrvr.com": "rackspace",
}
_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "gob", "gov", "ne", "net", "or", "org"})


@lru_cache(maxsize=4096)
def provider_of(exchanger: str) -> str:
    """The provider: its own short name where it is well known, else the registrable part of the exchanger's.

    That part is guessed: the last two labels, three where they look like `co.uk`. A list of public suffixes
    would take more memory than the function has that asks.

    Args:
        exchanger: a host's name, or its address.

    Returns:
        Empty if none is given; an address as it is.
    """
    host = exchanger.lower().rstrip(".")
    labels = host.split(".")
    if ":" in host or labels[-1].isdigit():
        return host
    is_nested = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    registrable = ".".join(labels[-3:] if is_nested else labels[-2:])
    return _KNOWN.get(registrable, registrable)
