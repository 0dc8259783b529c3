"""An edge in the test's own process: real journal, real SMTP, results in a list."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc

from edge_smtp.carriers import AddressLookup, SmtpCarrier
from edge_smtp.connections import Connections, opportunistic_tls
from edge_smtp.opening import Timeouts
from edge_smtp.results import ResultPublisher
from edge_smtp.sqlite_journal import SqliteJournal
from edge_smtp.submission import Submission
from edge_smtp.transmitter import Limits, Transmitter
from kannon.adapters.dns.exchangers import DnsExchangerLookup
from kannon.adapters.envelope_octets import submit_octets
from kannon.adapters.pb import edge_pb2
from kannon.core.envelopes import Envelope
from kannon.core.exchangers import Exchanger, parse_networks
from kannon.core.payloads import Delivered, Refused, TransmissionsDelivered, TransmissionsRefused
from kannon.core.replies import Stage
from kannon.runtime.clock import now_ms
from tests.edge_samples import SEAL_KEY
from tests.fakes import FakePublisher
from tests.smtp_peer import SmtpPeer


class _NoMetadata:
    def invocation_metadata(self) -> tuple[()]:
        return ()


NO_CONTEXT = cast("grpc.aio.ServicerContext[Any, Any]", _NoMetadata())
"""That of a call by nobody."""


class EdgeHarness:
    """One edge. `crash` drops it as a power failure would; make another one on the same journal afterwards.

    Args:
        routes: where mail goes, by domain or `*`.
        servers: resolvers, for domains without route.
        scale: factor on the timeouts of RFC 5321.
        lookup: instead of routes and resolvers.
    """

    def __init__(
        self,
        journal: Path,
        routes: Mapping[str, Exchanger],
        *,
        servers: Sequence[tuple[str, int]] = (),
        limits: Limits | None = None,
        allowed: str = "127.0.0.0/8",
        scale: float = 0.01,
        idle_seconds: float = 5.0,
        mails_per_session: int = 100,
        capacity: int = 1000,
        publisher: FakePublisher | None = None,
        lookup: AddressLookup | None = None,
    ) -> None:
        self._path = journal
        self._capacity = capacity
        self._limits = replace(limits or Limits(), capacity=capacity)
        self._connections = Connections(
            "edge.test",
            Timeouts.scaled(scale, connect=1.0),
            opportunistic_tls(),
            idle_seconds=idle_seconds,
            mails_per_session=mails_per_session,
        )
        found = lookup or DnsExchangerLookup(routes, servers, timeout=1.0)
        self._carrier = SmtpCarrier(found, self._connections, parse_networks(allowed))
        self.publisher = publisher or FakePublisher()

    async def start(self) -> "EdgeHarness":
        """Open the journal and go on with what it holds."""
        self.journal = await SqliteJournal.open(self._path, self._capacity, now_ms())
        self.transmitter = Transmitter(self.journal, self._carrier, self._limits, now_ms)
        self.submission = Submission(SEAL_KEY, self.journal, self.transmitter, "edge-test")
        self._results = asyncio.create_task(ResultPublisher(self.journal, self.publisher).run())
        await self.transmitter.resume()
        return self

    async def submit(self, *envelopes: Envelope) -> list[int]:
        """Submit, and give the verdicts."""
        request = edge_pb2.SubmitRequest.FromString(submit_octets(envelopes))
        response = await self.submission.Submit(request, NO_CONTEXT)
        return [answer.verdict for answer in response.answers]

    def facts(self) -> dict[int, Delivered | Refused]:
        """What was published, the last by seq."""
        return {fact.emitted.seq: fact for fact in self.all_facts()}

    def all_facts(self) -> list[Delivered | Refused]:
        """Everything that was published."""
        return [
            fact
            for payload in self.publisher.payloads
            if isinstance(payload, TransmissionsDelivered | TransmissionsRefused)
            for fact in payload.transmissions
        ]

    def has(self, count: int) -> Callable[[], bool]:
        """A condition: results of so many Deliveries were published."""
        return lambda: len(self.facts()) >= count

    async def stop(self) -> None:
        """Stop in good order."""
        await self.transmitter.stop(5)
        self._results.cancel()
        await asyncio.gather(self._results, return_exceptions=True)
        await self.journal.close()


class Exchangers:
    """A lookup that knows the same exchangers for every domain, in this order of preference."""

    def __init__(self, *peers: SmtpPeer) -> None:
        self._exchangers = [Exchanger(n, peer.host, peer.port) for n, peer in enumerate(peers)]

    async def exchangers(self, domain: str) -> list[Exchanger]:
        return self._exchangers

    async def addresses(self, host: str) -> list[str]:
        return [host]


Edge = Callable[..., Awaitable[EdgeHarness]]
"""The fixture `edge`: makes one that runs."""


def refusal(fact: Delivered | Refused) -> tuple[Stage, int, str, str]:
    """What a refusal says."""
    assert isinstance(fact, Refused)
    return fact.stage, fact.code, fact.enhanced, fact.text
