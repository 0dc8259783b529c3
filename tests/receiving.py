"""An HTTP server that takes events as a test wants, in threads of its own."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Taken:
    """One event as it came, in binary mode.

    Attributes:
        headers: by names in lower case.
    """

    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """Its attributes by name, and `data`."""
        found: dict[str, Any] = {
            name.removeprefix("ce-"): value for name, value in self.headers.items() if name.startswith("ce-")
        }
        return found | {"datacontenttype": self.headers["content-type"], "data": json.loads(self.body)}


@dataclass
class Receiver:
    """Listens on 127.0.0.1 while its context is open.

    Attributes:
        answer: gives the status for an event; it may take its time.
        taken: those that were answered with 2xx.
    """

    answer: Callable[[Taken], int] = lambda _: 202
    taken: list[Taken] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where events go."""
        assert self._server
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = Taken({name.lower(): value for name, value in self.headers.items()}, body)
                status = receiver.answer(asked)
                if status < 300:
                    receiver.taken.append(asked)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
