"""`python -m scale`."""

from collections.abc import Callable

from faults.program import run


def _command() -> Callable[[], object]:
    from scale.command import scale

    return scale


if __name__ == "__main__":
    run(_command)
