"""Failpoints: what may be written, where they are honoured, and what happens at one."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kannon.core import failpoints
from kannon.core.failpoints import POINTS, Failpoint, parse_failpoints, passing
from kannon.runtime.clock import step_clock, utc_now
from kannon.runtime.failpoints import arm_failpoints
from kannon.runtime.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def load(**variables: str) -> Settings:
    return Settings.load(environment={"K_CONFIG": os.devnull, **variables})


def test_what_happens_where_and_when() -> None:
    assert parse_failpoints("dispatch.published=kill@3, stats.committed=step:-3600") == (
        Failpoint("dispatch.published", 3),
        Failpoint("stats.committed", 1, -3600),
    )


@pytest.mark.parametrize("text", ["dispatch.published", "nowhere=kill", "stats.committed=stop", "=kill"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"form|no point"):
        parse_failpoints(text)


def test_outside_of_tests_the_start_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"K_TEST_FAILPOINTS.*K_TEST_BUILD"):
        load(K_TEST_FAILPOINTS="stats.committed=kill")
    assert load(K_TEST_FAILPOINTS="stats.committed=kill", K_TEST_BUILD="true")


def test_an_armed_process_says_so_loudly_and_breaks_at_that_passing(caplog: pytest.LogCaptureFixture) -> None:
    before = utc_now()
    with caplog.at_level(logging.INFO):
        arm_failpoints(load(K_TEST_FAILPOINTS="stats.committed=step:3600@2", K_TEST_BUILD="true"))
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]
        passing("stats.committed")
        passing("send.answered")
        assert utc_now() - before < timedelta(minutes=1)
        passing("stats.committed")
    try:
        assert timedelta(minutes=60) <= utc_now() - before < timedelta(minutes=61)
    finally:
        step_clock(timedelta(hours=-1))


def test_nothing_is_armed_without_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    arm_failpoints(load(K_TEST_BUILD="true"))
    for point in POINTS:
        passing(point)
    assert not caplog.records


def test_a_process_kills_itself() -> None:
    code = (
        "from kannon.core.failpoints import passing; from kannon.runtime.failpoints import arm_failpoints; "
        "from kannon.runtime.settings import Settings; arm_failpoints(Settings.load()); "
        "passing('edge.replied'); print('once', flush=True); passing('edge.replied'); print('twice')"
    )
    variables = {
        "K_CONFIG": os.devnull,
        "K_TEST_BUILD": "true",
        "K_TEST_FAILPOINTS": "edge.replied=kill@2",
    }
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "once\n")


def test_each_point_is_somewhere_and_each_somewhere_is_a_point() -> None:
    rooms = ("src", "functions", "edge-smtp", "api-gateway", "nats-source")
    sources = [path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")]
    passed = [point for text in sources for point in re.findall(r'\bpassing\("([^"]+)"\)', text)]
    assert sorted(passed) == sorted(POINTS)
