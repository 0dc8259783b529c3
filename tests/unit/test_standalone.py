"""What the standalone decides without looking at the machine."""

from pathlib import Path

import pytest

from kannon.cli.standalone.data_folder import default_data_folder
from kannon.cli.standalone.part import describe_end
from kannon.cli.standalone.supervisor import Backoff


@pytest.mark.parametrize(
    ("environment", "root", "expected"),
    [
        ({"HOME": "/home/ann"}, False, "/home/ann/.local/share/kannon"),
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "/data"}, False, "/data/kannon"),
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "relative"}, False, "/home/ann/.local/share/kannon"),
        ({"HOME": "/root", "XDG_DATA_HOME": "/data"}, True, "/var/lib/kannon"),
    ],
)
def test_default_data_folder(environment: dict[str, str], root: bool, expected: str) -> None:
    assert default_data_folder(environment, root=root) == Path(expected)


def test_backoff_doubles_up_to_its_longest() -> None:
    backoff = Backoff(first=0.2, longest=10.0, reset_after=30.0)
    delays = [0.0]
    for _ in range(8):
        delays.append(backoff.following(delays[-1], ready_for=1.0))
    assert delays[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_backoff_starts_over_after_a_healthy_time() -> None:
    assert Backoff().following(10.0, ready_for=29.9) == 10.0
    assert Backoff().following(10.0, ready_for=30.0) == 0.2


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-77, "killed by signal 77")],
)
def test_describe_end(code: int, said: str) -> None:
    assert describe_end(code) == said
