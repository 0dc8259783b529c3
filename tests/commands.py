"""The `kannon` command, as tests call it: in their own process, in one of its own, or on a terminal."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner

from kannon.cli.main import main

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def kannon(*words: str, stdin: str | bytes = "", **variables: str) -> Done:
    """Run it in this process, which knows no settings but these variables."""
    with (
        CliRunner(env=_only(variables)).isolation(input=stdin) as (out, err, _),
        patch.object(sys, "argv", ["kannon", *words]),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        return Done(code, out.getvalue().decode(), err.getvalue().decode())


def started(*words: str, **variables: str) -> "subprocess.Popen[str]":
    """Start it as a process whose output comes through pipes."""
    with _interruptible():
        return subprocess.Popen(
            [sys.executable, "-m", "kannon.cli", *words],
            env=_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def started_module(module: str, *words: str) -> "subprocess.Popen[str]":
    """Start one of the project's own programs, such as `faults`; it has our environment."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def check_generated(script: str, what: str) -> None:
    """What a script in `proto/` generates is as it would generate it now."""
    check = subprocess.run(
        [sys.executable, ROOT / "proto" / script, "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, f"run `make generate`; {what} differ:\n{check.stdout}{check.stderr}"


def read_errors_until(process: "subprocess.Popen[str]", text: str) -> None:
    """Read what it writes to stderr until it has written that; it must not end before."""
    assert process.stderr is not None
    seen = ""
    while text not in seen:
        letter = process.stderr.read(1)
        assert letter, seen
        seen += letter


@dataclass
class Terminal:
    """A process with a terminal of 80 columns; what is told to be a pipe is its `process.stdout`."""

    process: "subprocess.Popen[bytes]"
    _fd: int
    seen: str = ""

    def read(self) -> bool:
        """Read what was written to the terminal into `seen`; gives whether there may be more."""
        try:
            octets = os.read(self._fd, 65536)
        except OSError:  # on Linux the end of a terminal is an error
            return False
        self.seen += octets.decode(errors="replace")
        return bool(octets)

    def read_until(self, text: str) -> None:
        """Read until it was seen."""
        while text not in self.seen:
            assert self.read(), self.seen

    def write(self, text: str) -> None:
        """Type it."""
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Read all the rest; gives the exit code."""
        while self.read():
            pass
        os.close(self._fd)
        return self.process.wait(30)


def on_terminal(*words: str, pipe_stdout: bool = False, **variables: str) -> Terminal:
    """Start it on a terminal."""
    ours, theirs = pty.openpty()
    with _interruptible():
        process = subprocess.Popen(
            [sys.executable, "-m", "kannon.cli", *words],
            env=_environment({"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"} | variables),
            stdin=theirs,
            stdout=subprocess.PIPE if pipe_stdout else theirs,
            stderr=theirs,
            start_new_session=True,
        )
    os.close(theirs)
    return Terminal(process, ours)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Processes that are started here heed SIGINT, though tests that run in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _only(variables: Mapping[str, str]) -> Mapping[str, str | None]:
    others = dict.fromkeys(name for name in os.environ if name.startswith("K"))
    return {**others, "K_CONFIG": os.devnull, "K_DATA_FOLDER": "/nonexistent", **variables}


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("K")}
    return {**kept, "K_CONFIG": os.devnull, "K_DATA_FOLDER": "/nonexistent", **variables}
