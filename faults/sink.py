"""The exchangers that mail goes to: they write down what they see, then answer, and misbehave as told."""

import asyncio
import json
import os
import re
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.invariants import Delivery

_MESSAGE_ID: Final = re.compile(rb"^Message-ID: *<(\d+)\.(\d+)@([^>]+)>", re.IGNORECASE | re.MULTILINE)
_RESET: Final = struct.pack("ii", 1, 0)
_FOR_EVER: Final = 3600.0


@dataclass(slots=True)
class Behaviour:
    """What is done to one mail; as it is, it is taken at once.

    Attributes:
        rcpt: reply to RCPT, instead of 250.
        rcpt_delay: seconds before the reply to RCPT.
        refuse: reply to the final dot, instead of 250; the mail is not kept.
        after_dot: "reset" the connection, or "hang" and say nothing, once the mail is kept.
        delay: seconds before the reply to the dot.
    """

    rcpt: str = ""
    rcpt_delay: float = 0.0
    refuse: str = ""
    after_dot: str = ""
    delay: float = 0.0


@dataclass(slots=True)
class Copy:
    """A message whose final dot was seen.

    Attributes:
        kept: whether it was not refused.
        answered: whether the reply went out.
    """

    domain: str
    delivery: Delivery
    recipient: str
    exchanger: str
    at: float
    kept: bool
    tls: bool
    answered: bool = False


@dataclass(slots=True)
class Exchanger:
    """One address that takes mail.

    Attributes:
        behave: says what to do with a recipient's mail, told which try of this recipient it is, from 1.
        seconds_a_byte: how slowly it reads.
        starttls: "refused", "half-open", or "" for what `tls` says.
        tls: its certificate; without one STARTTLS is not offered, unless it is to go wrong.
        resets_at_quit: RST instead of 221.
        hanging: connections that wait for a reply.
    """

    name: str
    host: str
    port: int = 0
    behave: Callable[[str, int], Behaviour] = lambda _recipient, _tries: Behaviour()
    seconds_a_byte: float = 0.0
    starttls: str = ""
    tls: ssl.SSLContext | None = None
    resets_at_quit: bool = False
    hanging: int = 0
    quits: int = 0
    connections: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    tried_at: dict[str, list[float]] = field(default_factory=dict)

    def calm(self) -> None:
        """Take everything again."""
        self.behave = lambda _recipient, _tries: Behaviour()
        self.seconds_a_byte = 0.0
        self.starttls = ""
        self.tls = None
        self.resets_at_quit = False

    @property
    def target(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


class Sink:
    """All exchangers, and the record of what they saw.

    Args:
        record: the file; every final dot is in it, synced, before its reply is sent.
    """

    def __init__(self, record: Path) -> None:
        self.copies: list[Copy] = []
        self.exchangers: dict[str, Exchanger] = {}
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._servers: list[asyncio.Server] = []
        self._talking: set[asyncio.Task[None]] = set()

    async def listen(self, name: str, host: str = "127.0.0.1") -> Exchanger:
        """One more exchanger, on a free port."""
        exchanger = Exchanger(name, host)

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._talking.add(task)
            try:
                await _Conversation(self, exchanger, reader, writer).hold()
            finally:
                self._talking.discard(task)

        server = await asyncio.start_server(take, host, 0, limit=4 * 1024 * 1024)
        exchanger.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        self.exchangers[name] = exchanger
        return exchanger

    async def stop(self) -> None:
        """Close everything."""
        for server in self._servers:
            server.close()
        for task in list(self._talking):
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)
        if self._writing is not None:
            await asyncio.wait([self._writing])
        os.close(self._record)

    def calm(self) -> None:
        """All exchangers take everything again."""
        for exchanger in self.exchangers.values():
            exchanger.calm()

    def kept(self, domain: str) -> Counter[Delivery]:
        """How many copies there are of each of a tenant's Deliveries."""
        return Counter(copy.delivery for copy in self.copies if copy.kept and copy.domain == domain)

    async def write_down(self, what: dict[str, object]) -> None:
        """Append a line, and wait until it is on the disk; lines that come together share an fsync."""
        done = asyncio.get_running_loop().create_future()
        self._lines.append((json.dumps(what).encode() + b"\n", done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._lines:
            lines, self._lines = self._lines, []
            os.write(self._record, b"".join(line for line, _ in lines))
            await asyncio.to_thread(os.fsync, self._record)
            for _, done in lines:
                if not done.done():
                    done.set_result(None)
        self._writing = None


class _Over(Exception):
    """The conversation ends."""


class _Conversation:
    """One connection (RFC 5321)."""

    def __init__(
        self, sink: Sink, exchanger: Exchanger, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._sink = sink
        self._exchanger = exchanger
        self._reader = reader
        self._writer = writer
        self._recipient = ""
        self._behaviour = Behaviour()
        self._encrypted = False
        exchanger.connections += 1
        self._number = exchanger.connections

    async def hold(self) -> None:
        try:
            await self._sink.write_down(self._about("connected"))
            self._say("220 sink.test ESMTP")
            while line := await self._line():
                await self._obey(line.decode("utf-8", "replace").strip())
        except (OSError, EOFError, _Over, ssl.SSLError, asyncio.LimitOverrunError):
            pass
        finally:
            with suppress(OSError, ssl.SSLError):
                self._writer.close()

    async def _line(self) -> bytes:
        if not self._exchanger.seconds_a_byte:
            return await self._reader.readline()
        line = b""
        while not line.endswith(b"\n"):
            await asyncio.sleep(self._exchanger.seconds_a_byte)
            octet = await self._reader.read(1)
            if not octet:
                raise _Over
            line += octet
        return line

    async def _obey(self, line: str) -> None:
        verb = line.partition(" ")[0].upper()
        match verb:
            case "EHLO" | "HELO":
                self._greet()
            case "STARTTLS":
                await self._start_tls()
            case "RCPT":
                await self._take_recipient(line)
            case "DATA" if self._recipient:
                await self._take_message()
            case "DATA":
                self._say("503 5.5.1 no valid recipients")
            case "QUIT":
                self._exchanger.quits += 1
                if self._exchanger.resets_at_quit:
                    self._reset()
                self._say("221 2.0.0 bye")
                raise _Over
            case _:
                self._say("250 2.0.0 ok")

    def _greet(self) -> None:
        words = ["sink.test", "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 33554432"]
        if (self._exchanger.tls or self._exchanger.starttls) and not self._encrypted:
            words.append("STARTTLS")
        self._say("\r\n".join(f"250{'-' if word is not words[-1] else ' '}{word}" for word in words))

    async def _start_tls(self) -> None:
        if self._exchanger.starttls == "refused":
            self._say("454 4.7.0 TLS is not available just now")
            return
        self._say("220 2.0.0 go ahead")
        if self._exchanger.starttls == "half-open":
            await self._hang()
        assert self._exchanger.tls is not None
        await self._writer.start_tls(self._exchanger.tls)
        self._encrypted = True

    async def _take_recipient(self, line: str) -> None:
        recipient = line.partition("<")[2].partition(">")[0]
        exchanger = self._exchanger
        exchanger.tries[recipient] += 1
        exchanger.tried_at.setdefault(recipient, []).append(time.monotonic())
        self._behaviour = exchanger.behave(recipient, exchanger.tries[recipient])
        self._recipient = "" if self._behaviour.rcpt else recipient
        await asyncio.sleep(self._behaviour.rcpt_delay)
        self._say(self._behaviour.rcpt or "250 2.1.5 ok")

    async def _take_message(self) -> None:
        self._say("354 go ahead")
        message = await self._reader.readuntil(b"\r\n.\r\n")
        behaviour, kept = self._behaviour, not self._behaviour.refuse
        named = _MESSAGE_ID.search(message.partition(b"\r\n\r\n")[0])
        assert named is not None, "a mail without our Message-ID"
        copy = Copy(
            domain=named[3].decode(),
            delivery=(int(named[1]), int(named[2])),
            recipient=self._recipient,
            exchanger=self._exchanger.name,
            at=time.monotonic(),
            kept=kept,
            tls=self._encrypted,
        )
        self._recipient = ""
        about = {"delivery": copy.delivery, "domain": copy.domain, "kept": kept}
        await self._sink.write_down(self._about("dot") | about)
        self._sink.copies.append(copy)
        if behaviour.delay:
            await self._hang(behaviour.delay)
        if behaviour.after_dot == "reset":
            self._reset()
        if behaviour.after_dot == "hang":
            await self._hang()
        reply = behaviour.refuse or "250 2.0.0 taken"
        self._say(reply)
        copy.answered = True
        await self._sink.write_down(self._about("replied") | about | {"reply": reply})

    async def _hang(self, seconds: float = _FOR_EVER) -> None:
        """Say nothing for a while; it is over when the other side goes."""
        self._exchanger.hanging += 1
        try:
            async with asyncio.timeout(seconds):
                while await self._reader.read(1):
                    pass
            raise _Over
        except TimeoutError:
            pass
        finally:
            self._exchanger.hanging -= 1

    def _reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()
        raise _Over

    def _say(self, reply: str) -> None:
        self._writer.write(reply.encode() + b"\r\n")

    def _about(self, what: str) -> dict[str, object]:
        return {
            "at": time.time(),
            "what": what,
            "exchanger": self._exchanger.name,
            "connection": self._number,
        }
