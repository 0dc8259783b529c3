"""How memory is asked of the system and given back."""

import ctypes
from contextlib import suppress
from typing import Final

LARGE: Final = 1024**2
"""Octets from which on a piece of memory is the system's again as soon as it is free."""
_M_MMAP_THRESHOLD: Final = -3  # malloc.h of glibc


def give_back_large_pieces() -> None:
    """Have large pieces of memory given back at once.

    glibc does so until the first is freed: from then on it keeps pieces as large, for each thread its own
    (mallopt(3)), and a process that had one large call stays as large. Other libraries are left as they are.
    """
    with suppress(AttributeError, OSError):  # what is no glibc has no such function
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)
