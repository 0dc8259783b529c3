"""What the sink can take, so that nobody mistakes its limit for ours."""

import asyncio
import time

from bench.sink import Sink

CONNECTIONS = 20
MAILS = 4000
_MAIL = (b"x" * 74 + b"\r\n") * 75
_COMMANDS = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"


async def sink_limit(sink: Sink) -> float:
    """Mails of 5.7 KB that it takes a second when several clients do nothing but send."""
    begin = time.monotonic()
    await asyncio.gather(*(_pour(sink.port, MAILS // CONNECTIONS) for _ in range(CONNECTIONS)))
    return MAILS / (time.monotonic() - begin)


async def _pour(port: int, mails: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(b"EHLO bench\r\n")
    while not (await reader.readline()).startswith(b"250 "):
        pass
    for _ in range(mails):
        writer.write(_COMMANDS)
        while not (await reader.readline()).startswith(b"354"):
            pass
        writer.write(_MAIL + b".\r\n")
        await reader.readline()
    writer.write(b"QUIT\r\n")
    writer.close()
