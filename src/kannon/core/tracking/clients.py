"""Whose request it is: the peer's, or that of whom trusted proxies name."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from kannon.core.exchangers import IpNetwork

_FOR: Final = re.compile(r'(?:^|[;\s])for=(?:"([^"]*)"|([^;,\s"]*))', re.IGNORECASE)
_WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")
_MAX_HOPS: Final = 32


class Proxies:
    """The proxies that are believed.

    Args:
        trusted: networks in which they are.
    """

    def __init__(self, trusted: Sequence[IpNetwork]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(1024)(self._look_up)

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """The address of who asked: the last one that no trusted proxy has.

        `X-Forwarded-For` and `Forwarded` (RFC 7239) are read from the right, as each proxy adds to the end;
        what stands to the left of an address that is not trusted anybody may have written. Where a request
        has both and they differ, one was not written by the proxy: then neither counts.

        Args:
            peer: who is connected; empty if that is not known.
            headers: of the request, names in lower case, those that came repeatedly joined by commas.
        """
        if not self._trusted or not self._is_trusted(peer):
            return _plain(peer) or peer
        told = [
            self._walk(peer, chain)
            for chain in (
                _chain(headers.get("x-forwarded-for", "")),
                _forwarded(headers.get("forwarded", "")),
            )
            if chain
        ]
        if not told or any(one != told[0] for one in told):
            return _plain(peer) or peer
        return told[0]

    def _walk(self, peer: str, chain: Sequence[str]) -> str:
        client = _plain(peer)
        for entry in reversed(chain[-_MAX_HOPS:]):
            address = _plain(entry)
            if not address:
                break
            client = address
            if not self._is_trusted(address):
                break
        return client

    def _look_up(self, address: str) -> bool:
        plain = _plain(address)
        if not plain:
            return False
        parsed = ipaddress.ip_address(plain)
        return any(parsed.version == network.version and parsed in network for network in self._trusted)


def _chain(header: str) -> list[str]:
    return header.split(",") if header else []


def _forwarded(header: str) -> list[str]:
    # One that names nobody ends the walk, as one that is hidden does (RFC 7239 §6).
    found = [_FOR.search(element) for element in _chain(header)]
    return [(match[1] or match[2] or "") if match else "" for match in found]


def _plain(written: str) -> str:
    """An address without port, brackets and zone, as RFC 5952 writes it; empty where it is none."""
    text = written.strip()
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
