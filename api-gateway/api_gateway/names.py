"""Names of domains and mailboxes in requests."""

from kannon.core.addresses import EmailAddress, InvalidAddress, domain_name
from kannon.core.errors import BadInput


def read_domain(text: str, field: str = "domain") -> str:
    """A domain, in A-labels.

    Args:
        field: where it stands, for the error's text.

    Raises:
        BadInput: it is none.
    """
    try:
        return domain_name(text)
    except InvalidAddress as error:
        raise BadInput(f"{field}: {error.reason}") from None


def read_address(field: str, text: str) -> EmailAddress:
    """A mailbox.

    Args:
        field: where it stands, for the error's text.

    Raises:
        BadInput: it is none.
    """
    try:
        return EmailAddress.parse(text)
    except InvalidAddress as error:
        raise BadInput(f"{field}: {error.reason}") from None
