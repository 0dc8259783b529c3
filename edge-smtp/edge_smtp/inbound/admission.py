"""Limits on connections: how many at once, and of one client."""

from collections import Counter
from ipaddress import IPv6Address, ip_address


class Admission:
    """Counts connections.

    Args:
        total: at once.
        per_client: at once from one IPv4 address, or one /64 of IPv6: who has one address of those has all.
    """

    def __init__(self, total: int, per_client: int) -> None:
        self._total = total
        self._per_client = per_client
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> str | None:
        """Count a connection from `address`; returns whose it is, for `leave`, or None: there is no room."""
        client = _client(address)
        if self._open.total() >= self._total or self._open[client] >= self._per_client:
            return None
        self._open[client] += 1
        return client

    def leave(self, client: str) -> None:
        """A connection that was let in has ended."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]


def _client(address: str) -> str:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return parsed.packed[:8].hex()
    return str(parsed)
