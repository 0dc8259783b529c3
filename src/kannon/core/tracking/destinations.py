"""Where a link leads: what a browser makes of an `href`, and whether that can be tracked."""

import re
from typing import Final
from urllib.parse import quote

from kannon.core.addresses import InvalidAddress, domain_name
from kannon.core.tracking.tokens import MAX_URL_OCTETS

# Most links are of this form, and need nothing done to them.
_PLAIN: Final = re.compile(r"https?://[A-Za-z0-9.-]++(?::[0-9]++)?(?:[/?#][!#-;=?-\[\]^_a-z{|}~]*+)?")
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<user>[^/?#\\]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#\\@:\[\]]+)"
    r"(?P<port>:[0-9]*)?(?P<path>[^?#]*)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_HOST: Final = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=-]+|\[.*\]")
_ENDS: Final = "".join(map(chr, range(0x21)))
_BREAKS: Final = str.maketrans("", "", "\t\n\r")
_KEPT: Final = (
    "!#$%&'()*+,/:;=?@[\\]^{|}"  # not percent-encoded by browsers everywhere, besides `~` and the like
)


def destination(value: str) -> str | None:
    """The URL in ASCII that a browser asks for when it follows a link (URL Standard §4.4), in one spelling.

    White space around it and line ends in it do not count, a backslash before the query is a slash, names are
    in A-labels, and what may not stand in a URL is percent-encoded. Else it is as it was written.

    Args:
        value: an attribute's value, decoded.

    Returns:
        None if it cannot be tracked: it is not `http://` or `https://` and a host, or is longer than
        MAX_URL_OCTETS. Relative URLs are such, for mail has no place that they are relative to.
    """
    url = value if _PLAIN.fullmatch(value) else _written_out(value)
    return url if url is not None and len(url) <= MAX_URL_OCTETS else None


def may_become_one(beginning: str) -> bool:
    """Whether a value that begins so may, by what follows, be one that `destination` takes."""
    read = beginning.lstrip(_ENDS).translate(_BREAKS).lower()
    return not read or read.startswith(("https://", "http://"))


def host_of(url: str) -> str:
    """The host of a URL that `destination` gave, in lower case, without a port."""
    found = _URL.fullmatch(url)
    return found["host"].lower() if found else ""


def _written_out(value: str) -> str | None:
    found = _URL.fullmatch(value.strip(_ENDS).translate(_BREAKS))
    if found is None or (host := _ascii_host(found["host"])) is None:
        return None
    if found["path"][:1] not in ("", "/", "\\"):  # such as a port that is no number
        return None
    path = found["path"].replace("\\", "/")
    user, port = found["user"] or "", found["port"] or ""
    return f"{found['scheme'].lower()}://{_encoded(user)}{host}{port}{_encoded(path + found['rest'])}"


def _ascii_host(host: str) -> str | None:
    if host.isascii():
        return host if _HOST.fullmatch(host) else None
    try:
        return domain_name(host)
    except InvalidAddress:
        return None


def _encoded(part: str) -> str:
    return quote(part, safe=_KEPT, errors="replace")
