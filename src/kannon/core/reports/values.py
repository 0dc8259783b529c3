"""What a message that came back says."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What came back."""

    BOUNCE = "bounce"
    DELAYED = "delayed"  # a delivery report in which nothing has failed so far (RFC 3464 §2.3.3)
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto-reply"
    UNSUBSCRIBE = "unsubscribe"  # a person's mail to an address that is there for it
    UNRECOGNISED = "unrecognised"  # or recognised, and of no concern here: see `Report.reason`


class Action(StrEnum):
    """What was done for one recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    NONE = ""  # in complaints


@dataclass(frozen=True, slots=True)
class Reported:
    """What is said of one recipient.

    Attributes:
        address: as the report has it, empty if it names none.
        status: the enhanced status code (RFC 3463), empty in complaints.
        code: the SMTP reply code, 0 if there was none.
        category: as of `kannon.core.replies`; of a complaint, its Feedback-Type (RFC 5965 §7.3).
        hard: whether the address is to be written off.
        text: the peer's words, in one line.
        reporting_mta: the host that says so, empty if it is not named.
    """

    address: str
    action: Action
    status: str = ""
    code: int = 0
    category: str = ""
    hard: bool = False
    text: str = ""
    reporting_mta: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a message is, and what it says of whom.

    Attributes:
        reason: why it is of this kind, where that is not plain, such as `read-receipt`.
        recipients: in the order of the report; at least one in bounces and complaints.
    """

    kind: Kind
    recipients: tuple[Reported, ...] = ()
    reason: str = ""
