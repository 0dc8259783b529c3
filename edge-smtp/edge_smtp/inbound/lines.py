"""What a client may send: lines that end in CRLF, and messages that end in CRLF.CRLF.

RFC 5321 §2.3.8 and §4.1.1.4. A server that overlooks a bare CR, a bare LF or a NUL can be made to see the end
of a message where others see none, and behind it a second message that nobody sent.
"""

import hashlib
from typing import Final

_END: Final = b"\r\n.\r\n"


class BareLineEnd(Exception):
    """CR without LF, LF without CR, or NUL."""


class Lines:
    """Lets octets pass in which CR and LF stand together and nowhere alone, whatever chunks they come in."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be read of it; a CR at its end is held back until what follows is known.

        Raises:
            BareLineEnd: it is not clean.
        """
        octets = self._held + chunk
        self._held = octets[-1:] if octets.endswith(b"\r") else b""
        if self._held:
            octets = octets[:-1]
        pairs = octets.count(b"\r\n")
        if octets.count(b"\r") != pairs or octets.count(b"\n") != pairs or b"\0" in octets:
            raise BareLineEnd
        return octets


class Incoming:
    """A message while it comes in after DATA. It keeps the beginning; the rest is counted, hashed and let go.

    Args:
        head: octets to keep at the most.
    """

    def __init__(self, head: int) -> None:
        self._head = head
        self._kept = bytearray()
        self._tail = b"\r\n"  # that of the line DATA: a dot may follow at once
        self._size = -len(self._tail)
        self._hash = hashlib.sha256()

    def feed(self, chunk: bytes) -> bytes | None:
        """Take octets that `Lines` let pass.

        Returns:
            What follows the message; None while it has not ended.
        """
        octets = self._tail + chunk
        end = octets.find(_END)
        if end < 0:
            cut = max(len(octets) - len(_END) + 1, 0)
            self._take(octets[:cut])
            self._tail = octets[cut:]
            return None
        self._take(octets[: end + 2])
        self._tail = b""
        return octets[end + len(_END) :]

    @property
    def size(self) -> int:
        """Octets so far, as they came: with the dots that were doubled for the way (RFC 5321 §4.5.2)."""
        return max(self._size, 0)

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal, over all octets as they came."""
        return self._hash.hexdigest()

    @property
    def truncated(self) -> bool:
        """Whether more came than was kept."""
        return self._size + 2 > self._head

    def message(self) -> bytes:
        """The beginning of the message, without the dots that were added for the way."""
        return bytes(self._kept).replace(b"\r\n.", b"\r\n")[2:]

    def _take(self, octets: bytes) -> None:
        self._size += len(octets)
        self._hash.update(octets)
        self._kept += octets[: max(self._head - len(self._kept), 0)]
