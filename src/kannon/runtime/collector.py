"""When Python looks for garbage that refers to itself."""

import gc

_ALLOCATIONS = 50_000


def collect_rarely() -> None:
    """Call it when a process has started: what is there now stays, and is never looked at again.

    A chunk makes some thousand objects that end with it and refer to nothing but values. Python's own
    threshold (700) would walk through them a dozen times a chunk and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)
