"""What was asked for, as far as anything here depends on it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_USER_AGENT: Final = 512
"""Characters of it that are kept."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ONE_CLICK: Final = re.compile(
    rb"list-unsubscribe(?:=|\"\r?\n(?:[^\r\n]+\r?\n)*\r?\n)one-click", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request.

    Attributes:
        path: as it was sent, without the query.
        peer: address of who is connected; empty if that is not known.
        headers: names in lower case; those that came repeatedly are joined by commas.
    """

    method: str
    path: str
    peer: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def host(self) -> str:
        """The host that it was made to, without a port."""
        name, _, port = self.headers.get("host", "").partition(":")
        return name if not port or port.isdecimal() else ""

    @property
    def user_agent(self) -> str:
        """What asked, as it says itself."""
        return _CONTROLS.sub(" ", self.headers.get("user-agent", ""))[:MAX_USER_AGENT]

    @property
    def is_one_click(self) -> bool:
        """Whether its body, of a form in either encoding, is what RFC 8058 §3.2 wants."""
        return _ONE_CLICK.search(self.body) is not None
