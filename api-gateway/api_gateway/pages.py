"""How much of a list a call asks for."""

from kannon.core.errors import BadInput


def read_take(take: int, default: int, most: int) -> int:
    """How many entries a page may have.

    Args:
        take: as the request has it; 0 where it says nothing.

    Raises:
        BadInput: more than there may be.
    """
    if take > most:
        raise BadInput(f"take: must not be more than {most}")
    return take or default
