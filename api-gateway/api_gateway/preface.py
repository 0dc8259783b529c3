"""What a connection speaks, by the first octets that come."""

from enum import Enum, auto
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""With this every client of HTTP/2 begins, and nobody else (RFC 9113 §3.4)."""


class Speaks(Enum):
    """Whom a connection is for."""

    HTTP_2 = auto()
    ANYTHING_ELSE = auto()
    """HTTP/1.1, or what its server refuses."""


def spoken(first: bytes) -> Speaks | None:
    """What a connection speaks that began with these octets; None while they do not tell yet."""
    if first.startswith(PREFACE):
        return Speaks.HTTP_2
    return None if PREFACE.startswith(first) else Speaks.ANYTHING_ELSE
