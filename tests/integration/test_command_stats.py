"""`kannon stats` against a gateway in memory: once, by the hour, and watched."""

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO

import grpc
import pytest

from tests.commands import Done, kannon, on_terminal, started
from tests.e2e.system import wait_until
from tests.fakes_api import FakeApi, Refused, running_api

THIS_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
BEFORE = THIS_HOUR - timedelta(hours=1)


def at(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running_api() as api:
        api.counts = [
            (THIS_HOUR, "delivered", 5),
            (BEFORE, "error", 2),
            (BEFORE, "delivered", 1000),
            (THIS_HOUR - timedelta(days=3), "bounced", 7),
        ]
        yield api


def words(api: FakeApi, *others: str, domain: str = "d.test") -> tuple[str, ...]:
    return ("stats", domain, "--api", api.address, "--admin-token", "t", *others)


def stats(api: FakeApi, *others: str, domain: str = "d.test") -> Done:
    return kannon(*words(api, *others, domain=domain))


def test_a_pipe_gets_a_line_for_each_outcome_of_the_last_day(api: FakeApi) -> None:
    assert stats(api) == Done(0, "delivered\t1005\ndeferred\t2\n", "")
    assert json.loads(stats(api, "--json").out) == {"delivered": 1005, "error": 2}


@pytest.mark.parametrize("since", ["4d", "96h", at(THIS_HOUR - timedelta(days=3)), "2020-01-01"])
@pytest.mark.parametrize("option", ["--since", "--from"])
def test_the_beginning_is_a_span_or_a_date(option: str, since: str, api: FakeApi) -> None:
    assert json.loads(stats(api, option, since, "--json").out)["bounced"] == 7


def test_the_hour_in_which_a_span_begins_counts(api: FakeApi) -> None:
    minutes = (datetime.now(UTC) - THIS_HOUR) // timedelta(minutes=1)  # another hour may have begun meanwhile
    assert json.loads(stats(api, "--since", f"{max(1, minutes)}m", "--json").out)["delivered"] >= 5


def test_by_hour_there_is_a_line_for_each_hour_the_oldest_first(api: FakeApi) -> None:
    assert stats(api, "--by", "hour").out.splitlines() == [
        f"{at(BEFORE)}\t0\t0\t1000\t2\t0\t0\t0\t0\t0",
        f"{at(THIS_HOUR)}\t0\t0\t5\t0\t0\t0\t0\t0\t0",
    ]
    assert json.loads(stats(api, "--by", "hour", "--json").out) == [
        {"hour": at(BEFORE), "delivered": 1000, "error": 2},
        {"hour": at(THIS_HOUR), "delivered": 5},
    ]


def test_a_domain_without_mail_has_no_lines_and_a_mistyped_one_is_refused(api: FakeApi) -> None:
    api.counts = []
    assert stats(api) == Done(0, "", "")
    for watch in ((), ("--watch",)):
        done = stats(api, *watch, domain="e.test")
        assert (done.code, done.err) == (1, "error: there is no such domain (NOT_FOUND)\n")


def test_a_wrong_moment_is_refused(api: FakeApi) -> None:
    assert stats(api, "--since", "yesterday").code == 2


def lines(stream: IO[str] | None, count: int) -> list[str]:
    assert stream
    return [stream.readline().rstrip("\n") for _ in range(count)]


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def test_a_watch_in_a_pipe_tells_what_has_changed_until_it_is_ended(api: FakeApi) -> None:
    watch = started(*words(api, "--watch"))
    assert lines(watch.stdout, 2) == ["delivered\t1005", "deferred\t2"]
    wait_until(lambda: api.looks >= 3, 30, "it looked again, and saw no change")
    api.counts.append((THIS_HOUR, "bounced", 1))
    assert lines(watch.stdout, 1) == ["bounced\t1"]
    assert end(watch) == (0, "")


def test_a_watch_for_programs_prints_everything_whenever_it_has_changed(api: FakeApi) -> None:
    watch = started(*words(api, "--watch", "--json"))
    assert [json.loads(line) for line in lines(watch.stdout, 1)] == [{"delivered": 1005, "error": 2}]
    wait_until(lambda: api.looks >= 3, 30, "it looked again, and saw no change")
    api.counts.append((THIS_HOUR, "delivered", 1))
    assert [json.loads(line) for line in lines(watch.stdout, 1)] == [{"delivered": 1006, "error": 2}]
    assert end(watch) == (0, "")


def test_a_watch_outlasts_a_gateway_that_is_away_for_a_while(api: FakeApi) -> None:
    watch = started(*words(api, "--watch"))
    lines(watch.stdout, 2)
    api.counts.append((THIS_HOUR, "failed", 1))
    api.stats_failures = [Refused(grpc.StatusCode.UNAVAILABLE, "restarting")]
    assert lines(watch.stdout, 1) == ["failed\t1"]
    code, err = end(watch)
    assert (code, "waiting: restarting" in err) == (0, True)


def test_a_watch_that_never_sees_a_gateway_fails_at_once(api: FakeApi) -> None:
    assert kannon("stats", "d.test", "--api", "127.0.0.1:1", "--admin-token", "t", "--watch").code == 3


def test_a_watch_on_a_terminal_is_redrawn_in_its_place(api: FakeApi) -> None:
    watch = on_terminal(*words(api, "--watch"))
    watch.read_until("1005")
    api.counts.append((THIS_HOUR, "bounced", 3))
    watch.read_until("bounced")
    assert "\x1b[1A" in watch.seen  # up to where the table began
    watch.process.send_signal(signal.SIGINT)
    assert watch.end() == 0


def test_a_terminal_gets_a_table_without_columns_that_say_nothing(api: FakeApi) -> None:
    shown = on_terminal(*words(api, "--by", "hour"), NO_COLOR="1")
    assert shown.end() == 0
    heading, first, second = shown.seen.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert heading.split() == ["hour", "delivered", "deferred"]
    assert first.split() == [at(BEFORE), "1000", "2"]
    assert second.split() == [at(THIS_HOUR), "5", "0"]


def test_a_terminal_is_told_that_there_is_nothing_yet(api: FakeApi) -> None:
    api.counts = []
    shown = on_terminal(*words(api))
    assert (shown.end(), "nothing yet" in shown.seen) == (0, True)
