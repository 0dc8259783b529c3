"""JSON logs on stdout: a message that never varies, and fields beside it."""

import json
import logging
import sys
import time
from typing import TextIO

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

_CHATTY = {
    "nats": logging.WARNING,
    "asyncio": logging.WARNING,
    "yoyo": logging.WARNING,
    "psycopg.pool": logging.ERROR,  # it names the server several times a second while that is away
}


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
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start_logging(part: str, debug: bool = False, stream: TextIO | None = None) -> None:
    """Log as JSON to `stream`, stdout where none is given, as `part` of the system."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for chatty, level in _CHATTY.items():
        logging.getLogger(chatty).setLevel(logging.INFO if debug else level)


def mask_address(address: str) -> str:
    """An address that may stand in a log: its local part shortened to the first letter."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}…{at}{domain}"
