"""The fault suite, as far as there is time for it here: its quickest cases, and how it is stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ("2", "6", "7", "9", "13", "14", "25b")


def suite(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "faults", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_when_something_breaks() -> None:
    process = suite("--only", ",".join(SMOKE), "--markdown")
    out, err = process.communicate()
    table, _, last = out.rstrip().rpartition("\n")
    told = json.loads(last)
    assert told["results"] == {"holds": len(SMOKE)}, err
    assert process.returncode == 0
    assert [case["case"] for case in told["cases"]] == list(SMOKE)
    assert all(case["accepted"] >= 200 and not case["missing"] for case in told["cases"])
    assert table.count("\n| ") == len(SMOKE) + 1


@pytest.mark.timeout(120)
def test_an_interrupted_suite_stops_everything_and_says_so() -> None:
    process = suite("--only", "15")
    assert process.stderr is not None
    seen = ""
    while "away" not in seen:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert json.loads(out.splitlines()[-1])["cases"] == []
