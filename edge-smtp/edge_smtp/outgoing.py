"""An Envelope made ready for the wire: what SMTP is told about it, and octets that may follow DATA."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from kannon.core.addresses import EmailAddress, InvalidAddress
from kannon.core.envelopes import Envelope
from kannon.core.replies import Refusal, Stage

BLOCK: Final = 65536
"""Octets that are written before we wait for the peer to read."""

_NO_LINE_ENDS: Final = bytes(octet for octet in range(256) if octet not in b"\r\n")
_DOT_FIRST: Final = re.compile(rb"\n\.")  # found in a third of the time that `in` takes

_UNSAFE_PATH: Final = re.compile(r"[\x00-\x20\x7f-\x9f<>]")


class Unsendable(Exception):
    """This mail cannot be sent to this peer, or to none; we say so as a peer would.

    Attributes:
        refusal: with the stage at which a peer would have said it.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes over the wire for one Envelope. Make it with `of`.

    Attributes:
        sender: the reverse path without brackets; empty for the null path.
        recipient: the forward path, its domain in A-labels.
        size: octets of the message, before dots are stuffed (RFC 1870 §5).
        is_8bit: the message has octets above 127 (RFC 6152).
        needs_utf8: an address or a header has characters beyond ASCII (RFC 6531).
    """

    sender: str
    recipient: str
    body: bytes
    size: int
    is_8bit: bool
    needs_utf8: bool

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """Prepare `envelope`.

        Raises:
            Unsendable: an address is none, or the message has a CR or LF that stands alone: peers differ in
                what they take for its end, and it would no longer fit its signature if we changed it.
        """
        try:
            recipient = EmailAddress.parse(envelope.recipient).wire
        except InvalidAddress as error:
            raise Unsendable(Refusal(Stage.RCPT, 553, "5.1.3", f"not sent: {error}")) from None
        if _UNSAFE_PATH.search(envelope.return_path):
            raise Unsendable(Refusal(Stage.MAIL, 553, "5.1.7", "not sent: the return path is no address"))
        body = envelope.body
        ends = body.translate(None, _NO_LINE_ENDS)  # faster than to count them
        if ends != b"\r\n" * (len(ends) // 2):
            raise Unsendable(Refusal(Stage.DATA, 554, "5.6.0", "not sent: a CR or LF stands alone"))
        is_8bit = not body.isascii()
        needs_utf8 = not (recipient.isascii() and envelope.return_path.isascii())
        if is_8bit and not needs_utf8:
            needs_utf8 = not body.partition(b"\r\n\r\n")[0].isascii()
        return cls(envelope.return_path, recipient, body, len(body), is_8bit, needs_utf8)

    def mail_command(self, extensions: dict[str, str]) -> bytes:
        """MAIL with the parameters that the peer understands.

        Args:
            extensions: what the peer offered, by keyword in upper case.

        Raises:
            Unsendable: it lacks what this mail needs, or takes none of this size.
        """
        command = f"MAIL FROM:<{self.sender}>"
        if "SIZE" in extensions:
            limit = extensions["SIZE"]
            if limit.isdecimal() and 0 < int(limit) < self.size:
                text = f"not sent: the peer takes {limit} octets, the message has {self.size}"
                raise Unsendable(Refusal(Stage.MAIL, 552, "5.3.4", text))
            command += f" SIZE={self.size}"
        if self.needs_utf8 and "SMTPUTF8" not in extensions:
            text = "not sent: the peer does not offer SMTPUTF8, which this mail needs"
            raise Unsendable(Refusal(Stage.MAIL, 550, "5.6.7", text))
        if self.is_8bit:
            if "8BITMIME" not in extensions:
                text = "not sent: the peer does not offer 8BITMIME, which this mail needs"
                raise Unsendable(Refusal(Stage.MAIL, 550, "5.6.3", text))
            command += " BODY=8BITMIME"
        if self.needs_utf8:
            command += " SMTPUTF8"
        return f"{command}\r\n".encode()

    def rcpt_command(self) -> bytes:
        """RCPT."""
        return f"RCPT TO:<{self.recipient}>\r\n".encode()

    def blocks(self) -> Iterator[bytes]:
        """The message after DATA, dots stuffed (RFC 5321 §4.5.2); the last block ends with the final dot."""
        body = self.body
        if _DOT_FIRST.search(body):
            body = body.replace(b"\r\n.", b"\r\n..")
        if body.startswith(b"."):
            body = b"." + body
        end = b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"
        last = max(0, (len(body) - 1) // BLOCK * BLOCK)
        for start in range(0, last, BLOCK):
            yield body[start : start + BLOCK]
        yield (body[last:] if last else body) + end
