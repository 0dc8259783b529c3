"""Asks the DNS where mail for a domain goes, and keeps the answers for as long as they hold."""

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.MX import MX

from kannon.core.errors import KannonError, Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain, route_for

T = TypeVar("T")
Found = tuple[T, float]  # what was found, and for how many seconds it holds

SHORTEST: Final = 1.0
LONGEST: Final = 3600.0
UNDELIVERABLE_FOR: Final = 60.0
UNANSWERED_FOR: Final = 5.0
"""Seconds for which an answer is kept, whatever its TTL says, and those that have none."""


class DnsExchangerLookup:
    """Finds exchangers and their addresses (implements `ports.ExchangerLookup`).

    Answers are kept for their TTL, failures for a shorter time, and questions that are asked while the same
    one is under way share its answer.

    Args:
        routes: where mail goes instead of to its MX, by domain or `*`.
        servers: host and port of the resolvers to ask; the system's where there are none.
        timeout: seconds for one question, all servers and repeats together.
        entries: how many answers are kept at the most.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        routes: Mapping[str, Exchanger],
        servers: Sequence[tuple[str, int]] = (),
        *,
        timeout: float = 10.0,
        entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes = routes
        self._routed = frozenset(route.host.lower() for route in routes.values())
        self._resolver = _resolver(servers)
        self._timeout = timeout
        self._exchangers = _Cache(self._find_exchangers, entries, clock)
        self._addresses = _Cache(self._find_addresses, entries, clock)

    async def exchangers(self, domain: str) -> Sequence[Exchanger]:
        """The exchangers of `domain` (A-labels), by a route, MX, or its own address (RFC 5321 §5.1).

        Raises:
            UndeliverableDomain: it does not exist, has a null MX (RFC 7505), or neither MX nor address.
            Unavailable: the DNS did not answer.
        """
        route = route_for(self._routes, domain)
        return (route,) if route else await self._exchangers.get(domain.lower())

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of an exchanger, IPv4 before IPv6; none if it has none. An address is its own.

        Raises:
            Unavailable: the DNS did not answer.
        """
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        if host.lower() == "localhost":  # RFC 6761 §6.3: not a question for resolvers
            return ("127.0.0.1", "::1")
        return await self._addresses.get(host.lower())

    async def _find_exchangers(self, domain: str) -> Found[Sequence[Exchanger]]:
        try:
            answer = await self._ask(domain, dns.rdatatype.MX)
        except (dns.resolver.NXDOMAIN, dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            raise UndeliverableDomain("no_such_domain", "5.1.2") from None
        if answer.rrset is None:
            return await self._implicit(domain)
        records = [record for record in answer.rrset if isinstance(record, MX)]
        hosts = [
            Exchanger(record.preference, record.exchange.to_text(omit_final_dot=True))
            for record in records
            if record.exchange != dns.name.root
        ]
        if not hosts:
            raise UndeliverableDomain("null_mx", "5.1.10")
        return tuple(hosts), answer.chaining_result.minimum_ttl

    async def _implicit(self, domain: str) -> Found[Sequence[Exchanger]]:
        addresses, ttl = await self._find_addresses(domain)
        if not addresses:
            raise UndeliverableDomain("no_exchanger", "5.1.2")
        return (Exchanger(0, domain),), ttl

    async def _find_addresses(self, host: str) -> Found[Sequence[str]]:
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        answers = await asyncio.gather(*(self._addresses_of(host, kind) for kind in kinds))
        found = [answer for answer in answers if not isinstance(answer, Unavailable)]
        addresses = tuple(address for some, _ in found for address in some)
        if not addresses and len(found) < len(kinds):
            raise Unavailable(f"the DNS does not answer for {host}", UNANSWERED_FOR)
        ttls = [ttl for some, ttl in found if some]
        return addresses, min(ttls, default=UNDELIVERABLE_FOR)

    async def _addresses_of(self, host: str, kind: dns.rdatatype.RdataType) -> Found[list[str]] | Unavailable:
        try:
            answer = await self._ask(host, kind)
        except Unavailable as error:
            return error
        except dns.exception.DNSException:  # no such name, or none that could exist
            return [], 0.0
        return [record.to_text() for record in answer.rrset or ()], answer.chaining_result.minimum_ttl

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        # The search list of the machine (or its cluster) is for hosts that a route names; what a domain's MX
        # says must not be looked up among the names of our own network.
        single = "." not in name and name in self._routed
        try:
            return await self._resolver.resolve(
                dns.name.from_text(name, None if single else dns.name.root),
                kind,
                search=single,
                raise_on_no_answer=False,
                lifetime=self._timeout,
            )
        except (dns.resolver.NXDOMAIN, dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            raise
        except dns.exception.DNSException as error:
            reason = type(error).__name__
            raise Unavailable(f"the DNS does not answer for {name} ({reason})", UNANSWERED_FOR) from None


def _resolver(servers: Sequence[tuple[str, int]]) -> dns.asyncresolver.Resolver:
    if not servers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            pass  # a machine without resolvers: routes work, and every question is answered by Unavailable
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
    return resolver


class _Cache(Generic[T]):
    """Keeps what `find` found, or that it failed; the oldest entry goes when there are too many."""

    def __init__(
        self, find: Callable[[str], Awaitable[Found[T]]], entries: int, clock: Callable[[], float]
    ) -> None:
        self._find = find
        self._entries = entries
        self._clock = clock
        self._kept: dict[str, tuple[float, T | KannonError]] = {}
        self._asking: dict[str, asyncio.Task[T | KannonError]] = {}

    async def get(self, name: str) -> T:
        until, outcome = self._kept.get(name, (0.0, None))
        if outcome is None or until <= self._clock():
            outcome = await asyncio.shield(self._asking.get(name) or self._start(name))
        if isinstance(outcome, KannonError):
            raise outcome.with_traceback(None)
        return outcome

    def _start(self, name: str) -> asyncio.Task[T | KannonError]:
        task = self._asking[name] = asyncio.create_task(self._fill(name))
        task.add_done_callback(lambda _: self._asking.pop(name, None))
        return task

    async def _fill(self, name: str) -> T | KannonError:
        outcome: T | KannonError
        try:
            outcome, ttl = await self._find(name)
        except UndeliverableDomain as error:
            outcome, ttl = error, UNDELIVERABLE_FOR
        except Unavailable as error:
            outcome, ttl = error, UNANSWERED_FOR
        self._kept.pop(name, None)
        while len(self._kept) >= self._entries:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = (self._clock() + min(max(ttl, SHORTEST), LONGEST), outcome)
        return outcome
