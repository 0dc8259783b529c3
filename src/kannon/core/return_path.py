"""Signed addresses: `bounce+<token>@<domain>`, by which a report finds its Delivery, and
`unsub+<token>@<domain>`, by which a reader unsubscribes. Nobody can forge one."""

import base64
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from kannon.core.deliveries import DeliveryId
from kannon.core.errors import BadInput

KEY_ID: Final = 1
"""The id of the key that return paths are made with."""
MAX_KEY_ID: Final = 15

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_FIELDS: Final = struct.Struct(">BQII")  # use and key id (four bits each), batch, seq, expiry in Unix minutes
_MAC_BYTES: Final = 16
_TOKEN_CHARS: Final = (
    53  # base32 of 33 bytes; with the longer prefix 60 of the 64 octets of RFC 5321 §4.5.3.1.1
)


class Use(Enum):
    """What a signed address is for: the prefix of its local part, and the number that is signed for it."""

    REPORTS = ("bounce+", 1)
    UNSUBSCRIBING = ("unsub+", 2)

    def __init__(self, prefix: str, number: int) -> None:
        self.prefix = prefix
        self.number = number


class BadReturnPath(BadInput):
    """The address is no return path of ours: not formed like one, forged, of another domain, or expired."""


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """What a return path says: which Delivery it belongs to, and until when mail to it is taken."""

    batch: int
    seq: int
    expires_at: datetime
    use: Use = Use.REPORTS

    @property
    def delivery(self) -> DeliveryId:
        """The Delivery that a report to it concerns."""
        return DeliveryId(self.batch, self.seq)


def mint(
    key: bytes,
    key_id: int,
    batch: int,
    seq: int,
    expires_at: datetime,
    domain: str,
    use: Use = Use.REPORTS,
) -> str:
    """Make the return path of a Delivery, or the address by which its reader unsubscribes.

    Args:
        key: the subkey for return paths.
        key_id: which key that is, 0 to 15, so that keys can be changed while mail is under way.
        batch: the Batch's number, below 2**64.
        seq: the Delivery's number in its Batch, below 2**32.
        expires_at: until when mail to it is taken; aware, kept to the minute, rounded down.
        domain: the domain of the address, in A-labels.

    Returns:
        The whole address, its local part no longer than 64 octets.

    Raises:
        ValueError: a number is out of range, or the moment is naive.
    """
    if not 0 <= key_id <= MAX_KEY_ID:
        raise ValueError(f"key_id must lie between 0 and {MAX_KEY_ID}")
    if expires_at.tzinfo is None:
        raise ValueError("expires_at must be aware")
    minutes = (expires_at - _EPOCH) // _MINUTE  # in whole numbers: a float of a far year rounds up
    try:
        payload = _FIELDS.pack(use.number << 4 | key_id, batch, seq, minutes)
    except struct.error as error:
        raise ValueError("batch, seq or expires_at is out of range") from error
    return f"{use.prefix}{_token(key, payload, domain)}@{domain.lower()}"


def read(keys: Mapping[int, bytes], address: str, now: datetime) -> ReturnPath:
    """Read a return path back; upper and lower case count the same, as some relays fold them.

    Args:
        keys: the subkeys for return paths by their ids.
        address: the recipient of a report, without angle brackets.
        now: the present moment, aware.

    Raises:
        BadReturnPath: whatever is wrong with the address, and nothing else.
    """
    if not address.isascii():  # other scripts have letters that lower-case into ASCII
        raise BadReturnPath("not a return path")
    local, _, domain = address.lower().rpartition("@")
    use = next((use for use in Use if local.startswith(use.prefix)), None)
    token = local.removeprefix(use.prefix) if use else ""
    if use is None or len(token) != _TOKEN_CHARS:
        raise BadReturnPath("not a return path")
    payload = _payload(token)
    head, batch, seq, minutes = _FIELDS.unpack(payload)
    key = keys.get(head & MAX_KEY_ID)
    if head >> 4 != use.number or key is None:
        raise BadReturnPath("of another use or an unknown key")
    # The whole token is made again and compared: so its spare bits cannot vary either.
    if not hmac.compare_digest(_token(key, payload, domain), token):
        raise BadReturnPath("forged, or for another domain")
    if now.timestamp() > minutes * 60:
        raise BadReturnPath("expired")
    return ReturnPath(batch, seq, datetime.fromtimestamp(minutes * 60, UTC), use)


def _token(key: bytes, payload: bytes, domain: str) -> str:
    mac = hmac.digest(key, payload + domain.lower().encode(), "sha256")[:_MAC_BYTES]
    return base64.b32encode(payload + mac).decode().rstrip("=").lower()


def _payload(token: str) -> bytes:
    try:
        return base64.b32decode(token.upper() + "===")[: _FIELDS.size]
    except ValueError as error:
        raise BadReturnPath("not a return path") from error
