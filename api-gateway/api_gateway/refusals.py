"""What the gateway refuses beyond `core.errors`; the texts are for the caller.

KannonError
├── Unauthenticated    no credentials, or not the right ones: one text, whatever the cause
├── PermissionDenied   the credentials are right, and do not allow this
├── NotFound
│   └── Foreign        it is another Domain's, or does not exist: the text does not tell which
├── Ended              what the call is about has ended, and cannot be changed any more
├── NotSetUp           this installation lacks what the call needs
└── NotBuilt           the contract has it, this version does not
"""

from kannon.core.errors import KannonError


class Unauthenticated(KannonError):
    """No credentials, or not the right ones. Its text is always the same.

    Attributes:
        cause: for the audit alone; a caller is never told.
        domain, key_id: which were claimed, and which key it was, as far as that is known; likewise.
    """

    def __init__(self, cause: str = "no credentials", domain: str = "", key_id: str = "") -> None:
        super().__init__("the credentials are missing or not valid")
        self.cause = cause
        self.domain = domain
        self.key_id = key_id


class PermissionDenied(KannonError):
    """The credentials do not allow this."""


class NotFound(KannonError):
    """What the call is about does not exist."""


class Foreign(NotFound):
    """What the call is about is another Domain's, or does not exist."""


class Ended(KannonError):
    """What the call is about has ended."""


class NotSetUp(KannonError):
    """This installation lacks what the call needs; the text names the setting that would give it."""


class NotBuilt(KannonError):
    """The contract has it, this version does not.

    Args:
        what: the procedure or field.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not built yet")
