"""An SMTP reply, as a peer wrote it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kannon.core.replies import Refusal, Stage

MAX_TEXT: Final = 500
MAX_LINES: Final = 200
"""What a reply may have before we stop listening to it; of its text this many characters are kept."""

_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?")
_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class MalformedReply(ValueError):
    """What came is no SMTP reply (RFC 5321 §4.2)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply.

    Attributes:
        code: from 200 to 599.
        lines: its text, line by line, without codes.
    """

    code: int
    lines: tuple[bytes, ...]

    @property
    def is_positive(self) -> bool:
        """Whether it says yes (2yz)."""
        return 200 <= self.code < 300

    def parts(self) -> tuple[str, str]:
        """The enhanced status code (RFC 2034; empty if there is none) and the text, fit for logs and events.

        The text is in one line of at most 500 characters. What is not UTF-8 and control characters are
        replaced.
        """
        enhanced = ""
        texts = []
        for line in self.lines:
            text = line.decode("utf-8", "replace")
            match = _ENHANCED.match(text)
            if match:
                enhanced = enhanced or match[1]
                text = text[match.end() :]
            texts.append(_CONTROL.sub(" ", text).strip())
        return enhanced, " ".join(filter(None, texts))[:MAX_TEXT]

    def refusal(self, stage: Stage) -> Refusal:
        """The same as what ended a transmission at `stage`."""
        return Refusal(stage, self.code, *self.parts())


class ReplyReader:
    """Puts replies together from octets as they arrive."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that `data` completes, in order; run it to its end.

        Raises:
            MalformedReply: a line has no code, or there is no end to it.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            match = _LINE.fullmatch(line.rstrip(b"\r"))
            if match is None or len(self._lines) >= MAX_LINES:
                raise MalformedReply("a reply that is no SMTP reply")
            self._lines.append(match[3] or b"")
            if match[2] != b"-":
                yield Reply(int(match[1]), tuple(self._lines))
                self._lines = []
        if len(self._rest) > 8192:
            raise MalformedReply("a reply without end")

    @property
    def has_begun(self) -> bool:
        """Whether a part of a reply has come that is not whole yet."""
        return bool(self._rest or self._lines)
