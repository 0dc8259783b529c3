"""A sink for events: answers every POST with 204 at once, and a GET with how many, and in what time.

`python -m bench.answering PORT`; runs until it is killed.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import cast

import httptools


@dataclass
class Told:
    """What has been answered.

    Attributes:
        first, last: when, in seconds.
    """

    count: int = 0
    first: float = 0.0
    last: float = 0.0

    def one(self) -> None:
        """Count another."""
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.count += 1


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """A whole request has come."""
        if self._parser.get_method() == b"POST":
            self._told.one()
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        told = {"count": self._told.count, "seconds": self._told.last - self._told.first}
        body = json.dumps(told).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def main(port: int) -> None:
    """Answer until killed."""
    told = Told()
    server = await asyncio.get_running_loop().create_server(lambda: Answering(told), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
