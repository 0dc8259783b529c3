"""`python -m faults`."""

from collections.abc import Callable

from faults.program import run


def _command() -> Callable[[], object]:
    from faults.command import faults

    return faults


if __name__ == "__main__":
    run(_command)
