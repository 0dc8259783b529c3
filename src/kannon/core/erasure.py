"""What stays of a Recipient who is to be forgotten."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from kannon.core.addresses import canonical

ERASED: Final = "erased@erased.invalid"
"""Stands in place of an address that was erased (RFC 2606 §2: nobody has it)."""
PERSONAL: Final = ("msg", "url", "ip", "user_agent")
"""Of what an Outcome knows: what may tell of whom it is, for exchangers repeat addresses in what they say."""
_PREFIX: Final = "sha256:"


def hashed(domain: str, address: str) -> str:
    """What a suppression is kept under once its address is erased: it still refuses, and does not say whom.

    It is bound to the Domain, so that those of two cannot be compared. Who guesses the address can tell that
    the guess is right; that is what it is for.

    Args:
        domain: that does not send to it.
        address: in canonical form.
    """
    return _PREFIX + hashlib.sha256(f"{domain}\0{address}".encode()).hexdigest()


def is_hashed(address: str) -> bool:
    """Whether a suppression's address is one that was erased."""
    return address.startswith(_PREFIX)


def impersonal(data: Mapping[str, Any]) -> dict[str, Any]:
    """What an Outcome knows, without what may tell of whom."""
    return {name: value for name, value in data.items() if name not in PERSONAL}


def spellings(address: str) -> list[str]:
    """All ways in which an address may stand in the ledger, in lower case.

    Args:
        address: as `EmailAddress` writes it.
    """
    lower = address.lower()
    found = {lower, canonical(address)}
    local, _, domain = canonical(address).rpartition("@")
    with suppress(UnicodeError):  # then the name cannot have been written otherwise
        found.add(f"{local}@{domain.encode().decode('idna')}")
    return sorted(found)
