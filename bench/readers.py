"""Readers: a process that asks track for pixels and links, on a few connections that are kept.

`python -m bench.readers PORT REQUESTS CONNECTIONS`; what is asked for is read from standard input, as JSON.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any, Final

PATIENCE: Final = 30.0
"""Seconds without an answer after which it is given up."""


def ask(port: int, wanted: list[bytes], count: int, connections: int) -> dict[str, Any]:
    """Ask for `count`, one at a time on each connection; tells seconds, answers by status, and latencies."""
    requests = islice(cycle(wanted), count)
    chosen = selectors.DefaultSelector()
    answers: Counter[int] = Counter()
    took: deque[float] = deque()
    begin = time.perf_counter()
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reading = _one_by_one(connection, requests, answers, took)
        next(reading)
        chosen.register(connection, selectors.EVENT_READ, reading)
    while answers.total() < count:
        ready = chosen.select(PATIENCE)
        if not ready:
            raise TimeoutError("track does not answer")
        for key, _ in ready:
            key.data.send(None)
    seconds = time.perf_counter() - begin
    ordered = sorted(took)
    return {
        "seconds": seconds,
        "answers": dict(answers),
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
    }


def _one_by_one(
    connection: socket.socket, requests: Iterator[bytes], answers: Counter[int], took: deque[float]
) -> Iterator[None]:
    for request in requests:
        connection.sendall(request)
        begin = time.perf_counter()
        received = b""
        while (answer := _whole(received)) is None:
            yield
            received += connection.recv(65_536)
        took.append(time.perf_counter() - begin)
        answers[answer] += 1
    while True:
        yield


def _whole(received: bytes) -> int | None:
    """The status of an answer that has come in, whole."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    length = int(head.partition(b"content-length: ")[2].split(b"\r", 1)[0])
    return int(head[9:12]) if len(body) >= length else None


def main() -> None:
    """Ask, and print what was found as JSON."""
    port, count, connections = map(int, sys.argv[1:])
    wanted = [one.encode() for one in json.load(sys.stdin)]
    print(json.dumps(ask(port, wanted, count, connections)))


if __name__ == "__main__":
    main()
