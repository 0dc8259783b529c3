"""What may be shown of URLs that hold credentials."""

import re
from typing import Final

# Where a password is written without percent-encoding, nobody can tell for sure where it ends: a URL is shown
# only if it can be read in one way. A NATS URL may have a token where others have a user.
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+://)(?P<user>[^@/?#,\s]*@)?(?P<place>([\w.-]+|\[[0-9A-Fa-f:.]+\])?(:\d{1,5})?(/[\w.-]*)?)"
    r"(?P<parameters>\?[^@#]*)?",
    re.ASCII,
)
HIDDEN: Final = "***"


def masked_url(written: str) -> str:
    """A URL, or several with commas, without user, password and parameters; `set` if it cannot be read."""
    shown = []
    for one in written.split(","):
        found = _URL.fullmatch(one.strip())
        if found is None:
            return "set"
        user = f"{HIDDEN}@" if found["user"] else ""
        parameters = f"?{HIDDEN}" if found["parameters"] else ""
        shown.append(f"{found['scheme']}{user}{found['place']}{parameters}")
    return ",".join(shown)
