"""What fetched a pixel or followed a link, where that was no person.

A rule names itself; what no rule names counts as a person. So a rule is here only where what it names is
never a reader: who is missed makes a number too large, who is named wrongly is lost from it. Programs that
say no more than which library they were made with (curl, Python) are not named, nor is who says nothing.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from kannon.core.payloads import Act

PREFETCH: Final = "prefetch"
"""A browser, before anyone asked: https://wicg.github.io/nav-speculation/prefetch.html, `Sec-Purpose`."""
APPLE_MPP: Final = "apple-mpp"
"""Apple's Mail Privacy Protection, which loads the images of every mail, whether or not it is opened."""
GMAIL_PREFETCH: Final = "gmail-prefetch"
"""Gmail, when mail comes in while its reader has Gmail open."""
SCANNER: Final = "scanner"
"""What looks for malware before mail is handed over, or when a link is passed on."""
BOT: Final = "bot"
"""What calls itself a robot, or makes a preview of a link."""
BURST: Final = "burst"
"""What fetches the links of a mail all at once (`bursts`)."""

_PURPOSES: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_EARLY: Final = ("prefetch", "prerender", "preview")
_APPLE_AGENT: Final = "Mozilla/5.0"
_GMAIL_AGENT: Final = "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
"""How it ends. `GoogleImageProxy` is another matter, as is Yahoo's: they fetch when the mail is opened."""
_SCANNERS: Final = re.compile(
    r"barracuda|mimecast|proofpoint|messagelabs|symantec|trend ?micro|fireeye|forcepoint|websense|zscaler"
    r"|sophos|ironport|cloudmark|fortiguard|virustotal|urlscan|bitdefender|kaspersky|safe ?browsing"
    r"|headlesschrome|phantomjs|google-safety|existence discovery",
    re.IGNORECASE,
)
_BOTS: Final = re.compile(
    r"(?<!cu)bot\b|crawler|spider|uripreview|link ?preview|facebookexternalhit|^whatsapp/|bitlybot|embedly",
    re.IGNORECASE,
)


def machine_of(act: Act, user_agent: str, headers: Mapping[str, str]) -> str:
    """The name of the rule by which a request was no person's; empty where none is.

    Args:
        headers: of the request, names in lower case.
    """
    for name in _PURPOSES:
        if (purpose := headers.get(name)) and any(word in purpose.lower() for word in _EARLY):
            return PREFETCH
    if act is Act.OPENED and user_agent == _APPLE_AGENT:
        return APPLE_MPP
    return _named(user_agent)


@lru_cache(2_000)
def _named(user_agent: str) -> str:
    if user_agent.endswith(_GMAIL_AGENT):
        return GMAIL_PREFETCH
    if _SCANNERS.search(user_agent):
        return SCANNER
    return BOT if _BOTS.search(user_agent) else ""
