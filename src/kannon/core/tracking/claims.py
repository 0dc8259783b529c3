"""What a token says, whatever it is written in."""

from dataclasses import dataclass
from enum import StrEnum

from kannon.core.tracking.policy import Mode


class Audience(StrEnum):
    """What a token may be used for; one that is for another use is none."""

    OPEN = "kannon/open"
    CLICK = "kannon/click"
    UNSUBSCRIBE = "kannon/unsubscribe"


@dataclass(frozen=True, slots=True)
class Claims:
    """Who may be known to have read what.

    Attributes:
        domain: the tenant; its token counts on `stats.<domain>` alone.
        mode: what may be learnt.
        batch: number of the Batch.
        seq: the Delivery within it; None where the mode does not tell Recipients apart.
        pseudonym: in mode pseudonymous, `<rand>@track.<domain>`; empty otherwise.
        url: where a link leads; empty for other audiences.
        expires_at: seconds since 1970, UTC; from then on the token is none.
    """

    audience: Audience
    domain: str
    mode: Mode
    batch: int
    expires_at: int
    seq: int | None = None
    pseudonym: str = ""
    url: str = ""
