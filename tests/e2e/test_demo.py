"""`kannon demo`, and being asked to stop at an awkward moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, wait_until


def started(*words: str, **variables: str) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    return subprocess.Popen(
        [sys.executable, "-m", "kannon.cli", *words],
        env=own | {"K_CONFIG": os.devnull} | variables,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_demo_delivers_all_and_says_so_in_its_last_line(open_path: Path) -> None:
    for _ in range(2):  # the second time it finds its data folder
        demo = started("demo", "--recipients", "150", "--data-folder", str(open_path / "data"))
        output, errors = demo.communicate(timeout=100)
        assert demo.returncode == 0, errors
        assert output.splitlines()[-1] == "demo: 150 of 150 delivered, DKIM pass"


@pytest.mark.parametrize("moment", ["gateway ", "accepted "], ids=["just started", "while mail flows"])
def test_a_demo_that_is_interrupted_stops_what_it_started(moment: str, open_path: Path) -> None:
    demo = started("demo", "--recipients", "5000", "--data-folder", str(open_path / "data"))
    assert demo.stdout is not None
    while not demo.stdout.readline().startswith(moment):
        assert demo.poll() is None
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=60)
    assert (demo.returncode, errors) == (130, "error: interrupted\n")
    assert not _processes_of(open_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_standalone_that_is_interrupted_while_it_starts_leaves_nothing(
    number: signal.Signals, open_path: Path
) -> None:
    data = open_path / "data"
    standalone = started("standalone", K_DATA_FOLDER=str(data), K_SENDER_HOSTNAME="mail.sender.test")
    wait_until((data / "logs" / "edge-smtp.log").exists, 30, "parts are being started")
    standalone.send_signal(number)
    _, errors = standalone.communicate(timeout=60)
    assert standalone.returncode == 130
    assert "Traceback" not in errors
    assert not _processes_of(open_path)


def _processes_of(folder: Path) -> list[str]:
    """Processes that know the folder by their arguments or environment."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in known:
            found.append(known.decode(errors="replace"))
    return found
