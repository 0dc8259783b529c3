"""What lies in the attachment store: where the store is, and how its objects are named.

An attachment is named by its Domain and content, and is deleted when no Batch needs it. Envelopes and reports
only pass through: their names begin with the hour from which on nobody needs them, so that what is over comes
first and is found without a list of what there is.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

ATTACHMENTS: Final = "attachments/"
ENVELOPES: Final = "envelopes/"
REPORTS: Final = "reports/"

ENVELOPES_KEPT_FOR: Final = timedelta(hours=2)
"""After its expiry nobody transmits an Envelope; clocks differ, and an hour has begun."""
REPORTS_STORED_FOR: Final = timedelta(days=30)
"""As long as dead letters are kept: an event that is retried finds its report."""
NEEDED_AFTER_EXPIRY: Final = timedelta(hours=1)
"""So long after the last Batch that asked for it has expired an attachment is kept without a further look."""

_HOUR: Final = "%Y%m%d%H"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where the store is.

    Attributes:
        url: `s3://bucket/prefix`, or `file:///folder`.
        endpoint: of an S3 that is not Amazon's; empty: Amazon's.
        region: empty: as the environment says.
        access_key: empty: credentials are looked for as Amazon's tools do.
        secret_key: what belongs to it.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that an event refers to.

    Attributes:
        name: in the store.
        size: its octets.
        digest: their SHA-256, in hexadecimal.
    """

    name: str
    size: int
    digest: str


def attachment_name(domain: str, digest: str) -> str:
    """The name of a Domain's attachment.

    Args:
        digest: SHA-256 of its content, in hexadecimal.
    """
    return f"{ATTACHMENTS}{domain}/{digest}"


def passing_name(kind: str, until: datetime, digest: str) -> str:
    """The name of what is not needed after `until`.

    Args:
        kind: `ENVELOPES` or `REPORTS`.
        until: aware.
        digest: SHA-256 of its content, in hexadecimal.
    """
    hour_after = until.astimezone(UTC) + timedelta(hours=1)
    return f"{kind}{hour_after.strftime(_HOUR)}/{digest}"


def is_over(name: str, now: datetime) -> bool:
    """Whether nobody needs what `passing_name` named so; what is named otherwise is never over."""
    _, _, rest = name.partition("/")
    hour, slash, _ = rest.partition("/")
    if not (slash and len(hour) == len("2026010100") and hour.isdecimal()):
        return False
    return hour <= now.astimezone(UTC).strftime(_HOUR)
