"""Ports are found once: nobody else who looks for one finds it before its server listens."""

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kannon.cli.standalone.listening import free_port

FINDING = """
import random
from kannon.cli.standalone.listening import free_port
random.seed({seed})
print(free_port(), flush=True)
input()
"""


@pytest.fixture
def seed() -> Iterator[int]:
    """What makes all who look begin at the same port."""
    before, seed = random.getstate(), random.randrange(10**9)
    yield seed
    random.setstate(before)


def test_a_port_is_not_found_twice(seed: int) -> None:
    found = set()
    for _ in range(3):
        random.seed(seed)
        found.add(free_port())
    assert len(found) == 3


def test_another_process_does_not_find_it_either_while_this_one_runs(seed: int) -> None:
    finding = [sys.executable, "-c", FINDING.format(seed=seed)]
    with subprocess.Popen(finding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        random.seed(seed)
        assert free_port() != theirs
        other.communicate("\n")
    random.seed(seed)
    assert free_port() == theirs


def test_of_several_in_a_row_none_is_found_again(seed: int) -> None:
    random.seed(seed)
    first = free_port(3)
    random.seed(seed)
    assert free_port() not in range(first, first + 3)
