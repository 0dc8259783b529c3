"""What is recorded of who called."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Decision(StrEnum):
    """What was decided about a call."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"


ADMIN_ROLE = "admin"
"""What stands for the holder of the admin token where others have the role of their key."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A decision. It holds no secret, and no address of a Recipient.

    Attributes:
        procedure: as in `pkg.kannon.mailer.apiv1.Mailer/SendHTML`.
        reason: why it was not allowed; empty if it was.
        domain: whose key it was, or for which Domain the holder of the admin token called; of an
            unauthenticated call only what it claims. Empty where there is none.
        key_id: the key's public name; empty where it is not known.
        role: the key's, or `admin`; empty where it is not known.
        client: the address that the call came from; empty where it is not known.
        attribution: what the caller said of itself.
        trace: W3C trace context of the call.
        count: of calls that it stands for: more than one only where a client fails again and again.
    """

    at: datetime
    procedure: str
    decision: Decision
    reason: str
    domain: str
    key_id: str
    role: str
    client: str
    attribution: str
    trace: str
    count: int = 1
