"""JSON logs on stdout: a message that never varies, and fields beside it.

A line names the trace that the work belongs to, and never shows a whole mail address, wherever it comes from:
what a server or an exception says may hold one.
"""

import json
import logging
import re
import sys
import time
from typing import Final, TextIO

from kannon.telemetry.tracing import current, trace_id_of

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

_CHATTY = {
    "nats": logging.WARNING,
    "asyncio": logging.WARNING,
    "yoyo": logging.WARNING,
    "opentelemetry": logging.ERROR,  # it tells of each try while a collector is away
    "psycopg.pool": logging.ERROR,  # it names the server several times a second while that is away
}


_LOCAL: Final = r"[^\s\"'<>()\[\],;:\\=@/]"
_ADDRESS: Final = re.compile(
    rf"(?<!{_LOCAL})({_LOCAL}){_LOCAL}*@(?=[\w\[])"  # as it stands in a text; only where a word begins
    r'|\\"([^"\\])(?:[^"\\]|\\\\.)*\\"@(?=[\w\[])'  # quoted (RFC 5321 §4.1.2), in JSON
)
_BATCH: Final = re.compile(r"msg_[0-9a-f]{32}@")


class JsonFormatter(logging.Formatter):
    """One JSON object a record; what is given by `extra` stands beside the message."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "part": self._part,
            "message": record.getMessage(),
        }
        if traceparent := current():
            line["trace_id"] = trace_id_of(traceparent)
            line["span_id"] = traceparent[36:52]
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str, ensure_ascii=False)
        text = _ADDRESS.sub(_masked, text) if "@" in text else text
        # Callers may send half a surrogate pair, which no stream takes: escaped, as JSON has it.
        return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def start_logging(part: str, debug: bool = False, stream: TextIO | None = None) -> None:
    """Log as JSON to `stream`, stdout where none is given, as `part` of the system."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for chatty, level in _CHATTY.items():
        logging.getLogger(chatty).setLevel(logging.INFO if debug else level)


def _masked(match: re.Match[str]) -> str:
    """The local part of what may be an address by its first letter; a Batch's name is no person's."""
    return match[0] if _BATCH.fullmatch(match[0]) else f"{match[1] or match[2]}…@"


def mask_address(address: str) -> str:
    """An address that may stand in a log: its local part shortened to the first letter."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}…{at}{domain}"
