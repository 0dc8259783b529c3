"""A DNS server for tests, on 127.0.0.1, over UDP and TCP, from a zone in a dict."""

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Zone = dict[str, Mapping[str, Sequence[str]] | str]


class DnsServer:
    """Answers from `zone`; a name that is not in it does not exist. Use it as a context manager.

    Args:
        zone: records by name and type, as in `{"example.test": {"MX": ["10 mx.example.test."]}}`; or the word
            SERVFAIL, REFUSED or SILENCE instead of the records of a name. It may be changed at any time.
        ttl: seconds that answers hold.

    Attributes:
        asked: how often each name was asked for, by (name, type).
    """

    def __init__(self, zone: Zone, ttl: int = 60) -> None:
        self.zone = zone
        self.ttl = ttl
        self.truncate = False
        self.asked: Counter[tuple[str, str]] = Counter()
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """As the setting `dns.servers` gives them."""
        return (("127.0.0.1", self.port),)

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(10), "the DNS server does not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        tcp = await self._listen()
        started.set()
        await self._stopping.wait()
        tcp.close()
        self._udp.close()

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        while True:  # until one port is free for both
            tcp = await asyncio.start_server(self._answer_stream, "127.0.0.1", 0)
            self.port = tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=("127.0.0.1", self.port)
                )
            except OSError:
                tcp.close()
            else:
                return tcp

    async def _answer_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = self.answer(await reader.readexactly(length))
            if answer is not None:
                wire = answer.to_wire()
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def answer(self, query: bytes) -> dns.message.Message | None:
        """The answer to `query`; None to say nothing."""
        asked = dns.message.from_wire(query)
        (question,) = asked.question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        response = dns.message.make_response(asked)
        response.flags |= dns.flags.RA | dns.flags.AA
        records = self.zone.get(name)
        if records == "SILENCE":
            return None
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif isinstance(records, str):
            response.set_rcode(dns.rcode.from_text(records))
        elif kind in records:
            response.answer.append(
                dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, records[kind])
            )
        elif "CNAME" in records:
            self._follow(response, question.name, records["CNAME"][0], kind)
        if not response.answer:
            soa = f"ns.{name}. hostmaster.{name}. 1 3600 600 86400 {self.ttl}"
            response.authority.append(dns.rrset.from_text(question.name, self.ttl, "IN", "SOA", soa))
        return response

    def _follow(self, response: dns.message.Message, name: dns.name.Name, target: str, kind: str) -> None:
        response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "CNAME", target))
        records = self.zone.get(target.rstrip("."))
        if isinstance(records, Mapping) and kind in records:
            end = dns.name.from_text(target)
            response.answer.append(dns.rrset.from_text_list(end, self.ttl, "IN", kind, records[kind]))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = self._server.answer(data)
        if response is not None:
            if self._server.truncate:
                response.flags |= dns.flags.TC
                response.answer.clear()
            self._transport.sendto(response.to_wire(), addr)
