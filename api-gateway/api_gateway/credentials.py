"""Who calls: API keys of Domains by Basic auth (RFC 7617), and the installation's admin token."""

import base64
import hashlib
import hmac
import secrets
import string
from datetime import datetime

from api_gateway.refusals import Unauthenticated
from kannon.core.addresses import domain_name
from kannon.core.errors import BadInput
from kannon.ports import Clock, Directory, KeyRecord

KEY_PREFIX = "k_"
KEY_CHARACTERS = 64
ID_PREFIX = "key_"
ID_CHARACTERS = 20
SHOWN_CHARACTERS = 8
_ALPHANUMERIC = string.ascii_letters + string.digits


class KeyCheck:
    """Tells for which Domain a call may send."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def domain_of(self, authorization: str) -> str:
        """The Domain whose valid key stands in an `Authorization` header.

        Raises:
            Unauthenticated: it does not hold one, whatever the cause.
            LedgerUnavailable: the key could not be looked up.
        """
        domain, key = basic_credentials(authorization)
        # Found by its hash, so how long that takes says nothing about the key.
        record = await self._directory.key(domain, key_hash(key))
        if record is None or not is_active(record, self._clock()):
            raise Unauthenticated
        return record.domain


class AdminCheck:
    """Compares admin tokens.

    Args:
        token: the right one; not empty.
    """

    def __init__(self, token: str) -> None:
        assert token, "an empty token would let everyone in"
        self._digest = hashlib.sha256(token.encode()).digest()

    def check(self, token: str) -> None:
        """Raises Unauthenticated unless it is the right one; the time it takes says nothing about that."""
        given = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        if not hmac.compare_digest(given, self._digest):
            raise Unauthenticated


def basic_credentials(authorization: str) -> tuple[str, str]:
    """Domain (in A-labels) and key of `Basic base64(domain:key)`.

    Raises:
        Unauthenticated: it has another form.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Unauthenticated
    try:
        domain, colon, key = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        if not colon:
            raise Unauthenticated
        return domain_name(domain), key
    except (ValueError, BadInput):
        raise Unauthenticated from None


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
