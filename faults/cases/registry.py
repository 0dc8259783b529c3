"""All cases, in the order in which they are tried."""

from collections.abc import Sequence
from typing import Final

import click

from faults.cases import choices, clocks, events, network, peers, processes, servers
from faults.trial import Case

_ROOMS: Final = (processes, events, servers, network, clocks, peers, choices)
ALL: Final[Sequence[Case]] = sorted(
    (case for room in _ROOMS for case in room.CASES), key=lambda case: (case.number, case.label)
)


def chosen(written: str) -> Sequence[Case]:
    """The cases that a list of numbers and labels names.

    Raises:
        click.BadParameter: there is no such case.
    """
    wanted = [word.strip() for word in written.split(",") if word.strip()]
    for word in wanted:
        if not any(word in (case.label, str(case.number)) for case in ALL):
            raise click.BadParameter(f"there is no case {word!r}; --list names them", param_hint="--only")
    return [case for case in ALL if {case.label, str(case.number)} & set(wanted)]
