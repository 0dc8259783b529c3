"""`make scale`, smaller: two of everything, one of each kind killed, and one mail after idleness."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.commands import read_errors_until, started_module

MAILS = 300
ON_THE_WAY = {"verify", "dispatch", "send", "stats"}


def processes_of(folder: Path) -> list[str]:
    """Processes that were told of this data folder."""
    mark, found = os.fsencode(folder), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in told:
            found.append(process.name)
    return found


@pytest.mark.timeout(240)
def test_two_of_everything_lose_and_double_nothing_and_wake_up_for_a_mail() -> None:
    process = started_module("scale", "--mails", str(MAILS), "--every", "1", "--rounds", "1")
    out, err = process.communicate()
    told = json.loads(out.splitlines()[-1])
    assert told["violations"] == [], err
    assert process.returncode == 0
    load = told["load"]
    assert load["accepted"] == MAILS
    assert load["missing"] == load["dead_letters"] == 0
    assert {function["killed"] for function in told["functions"].values()} == {1}
    assert load["kills_while_mail_was_owed"] == len(told["functions"])
    assert load["outcomes"]["bounced"] == MAILS // 25
    asleep, warm, idle = told["singles"]
    assert asleep["copies"] == warm["copies"] == idle["copies"] == 1
    assert set(asleep["started"]) & set(idle["started"]) >= ON_THE_WAY
    assert not ON_THE_WAY & set(warm["started"])


@pytest.mark.timeout(120)
def test_when_interrupted_it_stops_everything_and_says_so(tmp_path: Path) -> None:
    process = started_module("scale", "--data-folder", str(tmp_path))
    read_errors_until(process, "none had ever run")
    assert processes_of(tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert json.loads(out) == {"interrupted": True}
    assert processes_of(tmp_path) == []
