"""The fault suite, as far as there is time for it here: its quickest cases, and how it is stopped."""

import json
import signal

import pytest

from tests.commands import read_errors_until, started_module

SMOKE = ("2", "6", "7", "9", "13", "14", "25b")


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_when_something_breaks() -> None:
    process = started_module("faults", "--only", ",".join(SMOKE), "--markdown")
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
    process = started_module("faults", "--only", "15")
    read_errors_until(process, "away")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert json.loads(out.splitlines()[-1])["cases"] == []
