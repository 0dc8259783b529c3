"""From which addresses the key of a Domain may send."""

from collections.abc import Callable

from api_gateway.refusals import PermissionDenied
from kannon.ports import Directory

SuffixCheck = Callable[[str], bool]
"""Tells whether a name in A-labels is a public suffix, such as `co.uk` (https://publicsuffix.org)."""


class SenderRule:
    """A key sends from its own Domain, or from its parent (`example.com` with a key of `k.example.com`),
    unless that is a public suffix or has been registered as a Domain of its own."""

    def __init__(self, directory: Directory, is_public_suffix: SuffixCheck) -> None:
        self._directory = directory
        self._is_public_suffix = is_public_suffix

    async def check(self, sender_domain: str, key_domain: str) -> None:
        """Make sure that a key of `key_domain` may send from `sender_domain`, both in A-labels.

        Raises:
            PermissionDenied: it may not.
            LedgerUnavailable: whether the parent is a Domain could not be looked up.
        """
        if sender_domain == key_domain:
            return
        if sender_domain != parent(key_domain) or self._is_public_suffix(sender_domain):
            raise PermissionDenied(
                f"sender.email: must be at {key_domain}, the domain of the key, or at its parent"
            )
        if await self._directory.domain(sender_domain) is not None:
            raise PermissionDenied(f"sender.email: {sender_domain} is a domain of its own; use a key of that")


def parent(domain: str) -> str:
    """The name without its first label."""
    return domain.partition(".")[2]
