"""Who calls: API keys of Domains by Basic auth (RFC 7617), and the installation's admin token."""

import base64
import hashlib
import hmac
import secrets
import string
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from api_gateway.names import read_domain
from api_gateway.refusals import NotFound, Unauthenticated
from kannon.core.access import Role
from kannon.core.addresses import domain_name
from kannon.core.errors import BadInput
from kannon.core.limits import OwnLimits
from kannon.ports import Clock, Directory, KeyRecord

KEY_PREFIX = "k_"
KEY_CHARACTERS = 64
ID_PREFIX = "key_"
ID_CHARACTERS = 20
SHOWN_CHARACTERS = 8
ACTING_FOR: Final = "x-kannon-domain"
"""The header in which the holder of the admin token names the Domain of a message."""
MAX_ATTRIBUTION: Final = 256
"""Octets of what a caller says of itself."""
NO_OWN_LIMITS: Final = OwnLimits()
_ALPHANUMERIC = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever has valid credentials.

    Attributes:
        role: of the key; None with the admin token.
        domain: for which it acts; empty where the holder of the admin token names none.
        limits: what was set for that Domain.
    """

    role: Role | None = None
    domain: str = ""
    key_id: str = ""
    limits: OwnLimits = NO_OWN_LIMITS


class KeyCheck:
    """Tells who has a key, and for which Domain it is."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def holder(self, authorization: str) -> Holder:
        """Who has the valid key that stands in an `Authorization` header.

        Raises:
            Unauthenticated: it does not hold one, whatever the cause.
            LedgerUnavailable: the key could not be looked up.
        """
        domain, key = basic_credentials(authorization)
        # Found by its hash, so how long that takes says nothing about the key.
        found = await self._directory.key(domain, key_hash(key))
        if found is None:
            raise Unauthenticated("unknown key", domain)
        record, limits = found
        if not is_active(record, self._clock()):
            raise Unauthenticated(
                "deactivated key" if record.deactivated_at else "expired key", domain, record.id
            )
        return Holder(record.role, record.domain, record.id, limits)

    async def acting_for(self, name: str) -> Holder:
        """The holder of the admin token, acting for a Domain.

        Raises:
            BadInput: the name is none.
            NotFound: there is no such Domain.
            LedgerUnavailable: it could not be looked up.
        """
        if not name:
            raise BadInput(f"{ACTING_FOR}: is needed with the admin token")
        domain = read_domain(name, ACTING_FOR)
        limits = await self._directory.limits(domain)
        if limits is None:
            raise NotFound(f"{ACTING_FOR}: there is no domain {domain}")
        return Holder(domain=domain, limits=limits)


class AdminCheck:
    """Compares admin tokens.

    Args:
        tokens: the right ones; none is empty.
    """

    def __init__(self, *tokens: str) -> None:
        assert all(tokens), "an empty token would let everyone in"
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    def check(self, token: str) -> None:
        """Raises Unauthenticated unless it is a right one; the time it takes says nothing about that."""
        given = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        if not any([hmac.compare_digest(given, digest) for digest in self._digests]):  # each, to the end
            raise Unauthenticated("wrong admin token")


def basic_credentials(authorization: str) -> tuple[str, str]:
    """Domain (in A-labels) and key of `Basic base64(domain:key)`.

    Raises:
        Unauthenticated: it has another form.
    """
    scheme, _, encoded = authorization.partition(" ")
    try:
        domain, colon, key = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        if scheme.lower() != "basic" or not colon:
            raise Unauthenticated("malformed credentials")
        return domain_name(domain), key
    except (ValueError, BadInput):
        raise Unauthenticated("malformed credentials") from None


def is_attribution(text: str) -> bool:
    """Whether a caller may say this of itself: it is kept, and shown to people."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return False
    return len(text.encode()) <= MAX_ATTRIBUTION


def is_active(record: KeyRecord, now: datetime) -> bool:
    """Whether a key is neither deactivated nor expired."""
    return record.deactivated_at is None and (record.expires_at is None or now < record.expires_at)


def new_key() -> str:
    """A key: `k_` and 64 random letters and digits."""
    return KEY_PREFIX + _random(KEY_CHARACTERS)


def new_key_id() -> str:
    """A key's public name: `key_` and 20 random letters and digits."""
    return ID_PREFIX + _random(ID_CHARACTERS)


def key_hash(key: str) -> bytes:
    """SHA-256 of a whole key: all of it that is stored."""
    return hashlib.sha256(key.encode()).digest()


def masked(record: KeyRecord) -> str:
    """A key as it may be shown: its first characters."""
    return f"{record.prefix}..."


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))
