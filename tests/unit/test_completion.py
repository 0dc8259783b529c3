"""Completion by the shell, and output that ends when its reader does."""

import shutil
import subprocess
import sys

import pytest

from kannon.cli.main import cli
from tests.commands import kannon, started


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell_and_it_is_one_of_that_shell(shell: str) -> None:
    done = kannon("completion", shell)
    assert done.code == 0
    assert f"_KANNON_COMPLETE={shell}_complete" in done.out
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=done.out, text=True, check=True, timeout=20)


@pytest.mark.parametrize("words", [("completion",), ("completion", "tcsh")])
def test_another_shell_is_refused(words: tuple[str, ...]) -> None:
    assert kannon(*words).code == 2


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("kannon te", {"template"}),
        ("kannon template u", {"update"}),
        ("kannon batch ", {"show", "cancel", "reschedule"}),
        ("kannon send --re", {"--recipients", "--reply-to", "--retry-for", "--rejected"}),
        ("kannon stats d.test --by ", {"hour"}),
        ("kannon send --format j", {"jsonl"}),
    ],
)
def test_commands_options_and_choices_are_completed(line: str, completed: set[str]) -> None:
    words = line.split(" ")
    asked = {
        "_KANNON_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = started(**asked)
    out, err = done.communicate(timeout=30)
    assert (err, done.returncode) == ("", 0)
    assert {one.partition(",")[2] for one in out.splitlines()} == completed


def test_every_command_is_completed() -> None:
    done = started(_KANNON_COMPLETE="bash_complete", COMP_WORDS="kannon ", COMP_CWORD="1")
    out, _ = done.communicate(timeout=30)
    assert {one.partition(",")[2] for one in out.splitlines()} == set(cli.commands)


def test_output_whose_reader_has_gone_ends_without_a_traceback() -> None:
    run = started("config", "show")
    assert run.stdout
    run.stdout.close()
    assert run.stderr
    assert run.stderr.read() == ""
    assert run.wait(30) == 1


def test_output_into_a_pipe_has_no_colour() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "kannon.cli", "config", "show"],
        env={"PATH": "/usr/bin:/bin", "K_CONFIG": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
