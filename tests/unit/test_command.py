"""The `kannon` command: wrong words get one clear line and the right exit code."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.e2e.system import ROOT

SEND = ("send", "--domain", "d.test", "--key", "k", "--from", "a@d.test", "--to", "b@e.test")


def kannon(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return kannon_into(subprocess.PIPE, *words, **variables)


def kannon_into(stdout: int | IO[str], *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("K")}
    return subprocess.run(
        [sys.executable, "-m", "kannon.cli", *words],
        env=own | {"K_CONFIG": os.devnull, "K_DATA_FOLDER": "/nonexistent"} | variables,
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nonsense",), 2, "No such command"),
        (("migrate",), 2, "database_url (K_DATABASE_URL) is required"),
        (("migrate", "--database-url", "foo"), 2, "postgresql://"),
        (("migrate", "--database-url", "postgresql://u:hidden@[bad/x"), 2, "K_DATABASE_URL"),
        (("keys",), 2, "secret (K_SECRET) is required"),
        (("run",), 2, "--run-api"),
        (("run", "--run-stats"), 2, "database_url (K_DATABASE_URL) is required"),
        (("run", "--run-bounce", "--nats_url", "nats://h"), 2, "K_KEYS_EVENTS"),
        (("run", "--run-all"), 2, "No such option"),
        (("config", "show", "--debug", "perhaps"), 2, "debug (K_DEBUG)"),
        (("standalone", "--api.port", "70000"), 2, "api.port (K_API_PORT)"),
        (("domain", "list"), 1, "no admin token"),
        (("domain", "list", "--admin-token", "é"), 2, "--admin-token"),
        (("domain", "list", "--admin-token", "a\nb"), 2, "--admin-token"),
        (("domain", "list", "--admin-token", "x", "--api", ""), 2, "host:port"),
        (("domain", "list", "--admin-token", "x", "--api", "127.0.0.1:1"), 3, "127.0.0.1:1"),
        (("key", "create", "d.test", "--expires", "soon"), 2, "--expires"),
        ((*SEND, "--subject", "s", "--field", "novalue", "--html", os.devnull), 2, "name=value"),
        ((*SEND, "--subject", "s", "--html", "/nonexistent"), 2, "--html"),
    ],
)
def test_a_wrong_call_is_refused_clearly(words: tuple[str, ...], code: int, said: str) -> None:
    done = kannon(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


def test_input_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    for done in (
        kannon(*SEND, "--subject", "s", "--html", str(tmp_path / "bad")),
        kannon("domain", "list", K_CONFIG=str(tmp_path / "bad")),
    ):
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_output_that_finds_no_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = kannon_into(full, "config", "show")
    assert (done.returncode, done.stderr) == (1, "error: the output: No space left on device\n")


@pytest.mark.parametrize(
    "words",
    [
        (),
        *((c,) for c in ("domain", "key", "send", "deliveries", "stats", "standalone", "run", "config")),
    ],
)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    done = kannon(*words, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_the_version_is_told_for_people_and_for_programs() -> None:
    assert kannon("version").stdout == kannon("--version").stdout
    assert kannon("version").stdout.strip() in kannon("version", "--json").stdout


def test_a_wrong_setting_stops_standalone_before_it_starts_anything(tmp_path: Path) -> None:
    for name, value in (("K_SENDER_RETRY_MIN", "5x"), ("K_SENDER_HOSTNAME", "a b"), ("K_SENDER_ROUTES", "x")):
        done = kannon("standalone", **{"K_DATA_FOLDER": str(tmp_path / "data"), name: value})
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert name in done.stderr
    assert not (tmp_path / "data").exists()


def test_keys_are_derived_from_the_secret_and_from_nothing_else() -> None:
    printed = kannon("keys", K_SECRET="s" * 32).stdout
    assert {line.partition("=")[0] for line in printed.splitlines()} == {
        "K_KEYS_EVENTS",
        "K_KEYS_ENVELOPES",
        "K_KEYS_RETURN_PATHS",
        "K_KEYS_DKIM_KEYS",
        "K_KEYS_TRACKING_KEYS",
        "K_KEYS_WEBHOOK_SECRETS",
    }
    assert kannon("keys").returncode == 2
