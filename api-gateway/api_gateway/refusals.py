"""What the gateway refuses beyond `core.errors`; the texts are for the caller.

KannonError
├── Unauthenticated    no credentials, or not the right ones: one text, whatever the cause
├── PermissionDenied   the credentials are right, and do not allow this
├── NotFound
├── Ended              what the call is about has ended, and cannot be changed any more
├── NotSetUp           this installation lacks what the call needs
└── NotBuilt           the contract has it, this version does not
"""

from kannon.core.errors import KannonError


class Unauthenticated(KannonError):
    """No credentials, or not the right ones."""

    def __init__(self) -> None:
        super().__init__("the credentials are missing or not valid")


class PermissionDenied(KannonError):
    """The credentials do not allow this."""


class NotFound(KannonError):
    """What the call is about does not exist."""


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
