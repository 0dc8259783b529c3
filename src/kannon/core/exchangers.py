"""Where mail for a domain goes: exchangers by preference, routes by setting, addresses never to be used."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kannon.core.errors import KannonError

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One host that takes mail for a domain.

    Attributes:
        preference: lower is tried first (RFC 5321 §5.1).
    """

    preference: int
    host: str
    port: int = 25


class UndeliverableDomain(KannonError):
    """A domain that takes no mail, for good.

    Attributes:
        reason: stable token: `no_such_domain`, `null_mx` or `no_exchanger`.
        enhanced: the enhanced status code that says so (RFC 3463, RFC 7505 §4).
    """

    def __init__(self, reason: str, enhanced: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.enhanced = enhanced


def parse_routes(text: str) -> Mapping[str, Exchanger]:
    """Read `domain=host:port,*=host` (the setting `sender.routes`): where mail goes instead of to its MX.

    Raises:
        ValueError: an entry has another form; the text names it.
    """
    routes: dict[str, Exchanger] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        domain, equals, target = entry.partition("=")
        host, colon, port = target.strip().rpartition(":")
        if not colon:
            host, port = target.strip(), "25"
        if not (equals and domain.strip() and host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{entry!r} is not of the form domain=host:port (or *=host:port)")
        routes[domain.strip().lower()] = Exchanger(0, host.strip("[]"), int(port))
    return routes


def route_for(routes: Mapping[str, Exchanger], domain: str) -> Exchanger | None:
    """The route of `domain`, by its name or by `*`; None where its MX is to be asked."""
    return routes.get(domain.lower(), routes.get("*"))


def parse_networks(text: str) -> tuple[IpNetwork, ...]:
    """Read `127.0.0.0/8,::1` (the setting `sender.allow_networks`).

    Raises:
        ValueError: an entry is no network.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def may_connect(address: str, allowed: Sequence[IpNetwork]) -> bool:
    """Whether an exchanger's address may be connected to: global unicast, or allow-listed by setting.

    Loopback, private, link-local, shared, documentation, multicast and unspecified ranges are not, nor are
    IPv6 addresses that embed such an IPv4 address (mapped, 6to4, NAT64): an MX record must not open a way
    into the networks that the edge can reach.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(parsed.version == network.version and parsed in network for network in allowed):
        return True
    inner = _embedded_ipv4(parsed)
    return _is_public(parsed) and (inner is None or _is_public(inner))


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""What IANA gives out; all else of IPv6 is special, also where this Python's tables do not know it yet."""
_SPECIAL = (
    ipaddress.IPv6Network("3fff::/20"),  # documentation, RFC 9637
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
)


def _embedded_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_public(address: IpAddress) -> bool:
    if any(address.version == network.version and address in network for network in _SPECIAL):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address in _NAT64:
            return True  # what it embeds decides
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast
