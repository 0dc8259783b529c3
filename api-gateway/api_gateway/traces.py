"""W3C trace context (https://www.w3.org/TR/trace-context/): a caller's is taken over, or a new one begun."""

import re
import secrets

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-[!-~]*)?"
)
_LONGEST = 128  # versions to come may append fields (§3.2.4); we keep what we take, so not without bounds


def traceparent_of(given: str) -> str:
    """The caller's `traceparent` if it is a valid one, else a new one, sampled."""
    match = _TRACEPARENT.fullmatch(given) if len(given) <= _LONGEST else None
    if match and not (match["version"] == "00" and match["more"]):
        return given
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
