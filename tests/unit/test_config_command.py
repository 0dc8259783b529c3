"""`kannon config show`, and settings as flags."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from kannon.cli.config import config
from kannon.cli.flags import takes_settings
from kannon.runtime.settings import ALL, API_PORT, DEBUG, NATS_URL, SENDER_HOSTNAME, Settings, SettingsError

FILE = """\
api:
  port: 4444
  admin_token: hidden-token
sender.hostname: mail.example.com
"""
VARIABLES = {
    "K_DATABASE_URL": "postgresql://kannon:hidden-password@db:5432/kannon?password=hidden",
    "K_SECRET": "hidden-installation-secret",
    "K_SENDER_MAX_JOBS": "20",
}


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    path = tmp_path / "kannon.yaml"
    path.write_text(FILE)
    return VARIABLES | {"K_CONFIG": str(path)}


def call(command: click.Command, *words: str, variables: Mapping[str, str]) -> Result:
    return CliRunner().invoke(command, words, env=dict(variables))


def shown(*words: str, variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    done = call(config, "show", "--json", *words, variables=variables)
    assert done.exit_code == 0, done.output
    return {row["key"]: row for row in json.loads(done.stdout)}


def test_it_shows_each_setting_with_its_value_and_where_that_came_from(variables: Mapping[str, str]) -> None:
    rows = shown("--sender.hostname", "other.example.com", variables=variables)
    assert rows.keys() == ALL.keys()
    told = {key: (rows[key]["value"], rows[key]["source"]) for key in rows}
    assert told["api.port"] == ("4444", f"file {variables['K_CONFIG']}")
    assert told["sender.max_jobs"] == ("20", "variable K_SENDER_MAX_JOBS")
    assert told["sender.hostname"] == ("other.example.com", "flag --sender.hostname")
    assert told["smtp.address"] == (":25", "default")
    assert told["nats_url"] == (None, None)
    assert told["config"] == (variables["K_CONFIG"], "variable K_CONFIG")


@pytest.mark.parametrize("words", [("show",), ("show", "--json")])
def test_it_shows_no_secret_in_whatever_form(words: tuple[str, ...], variables: Mapping[str, str]) -> None:
    done = call(config, *words, variables=variables)
    assert done.exit_code == 0
    assert "hidden" not in done.output
    assert "postgresql://***@db:5432/kannon?***" in done.output


def test_people_see_what_is_set_what_is_empty_and_what_is_not(variables: Mapping[str, str]) -> None:
    lines = [line.split() for line in call(config, "show", variables=variables).stdout.splitlines()]
    assert ["secret", "set", "variable", "K_SECRET"] in lines
    assert ["nats_url", "not", "set"] in lines
    assert ["sender.routes", "(empty)", "default"] in lines
    assert ["Taking", "reports"] in lines


def test_a_malformed_value_is_named_and_not_shown_as_if_it_were_one(variables: Mapping[str, str]) -> None:
    done = call(config, "show", "--debug", "perhaps", variables=variables)
    assert isinstance(done.exception, SettingsError)
    assert "debug (K_DEBUG): 'perhaps': true or false is needed" in str(done.exception)


@pytest.fixture
def taken() -> list[Settings]:
    return []


@pytest.fixture
def command(taken: list[Settings]) -> click.Command:
    @click.command()
    @takes_settings(API_PORT)
    @click.option("--loud", is_flag=True)
    def made(settings: Settings, loud: bool) -> None:
        taken.append(settings)

    return made


def test_every_setting_is_a_flag_by_its_key(command: click.Command) -> None:
    flags = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {f"--{key}" for key in ALL} <= flags
    assert {"--database-url", "--sender.max-jobs"} <= flags, "as people who type dashes write them"


def test_help_shows_what_the_command_is_about(command: click.Command) -> None:
    text = call(command, "--help", variables={}).stdout
    assert "--api.port" in text
    assert "K_API_PORT" in text
    assert "--config" in text
    assert "--api.max_message" not in text


def test_a_switch_may_stand_alone(command: click.Command, taken: list[Settings]) -> None:
    for words in (["--debug"], ["--debug", "--loud"], ["--debug=true"], ["--debug", "true"]):
        assert call(command, *words, variables={"K_CONFIG": "/dev/null"}).exit_code == 0
        assert taken[-1][DEBUG] is True
    call(command, "--debug=false", variables={"K_CONFIG": "/dev/null", "K_DEBUG": "true"})
    assert taken[-1][DEBUG] is False


def test_a_secret_in_a_flag_is_taken_and_warned_of_without_showing_it(
    command: click.Command, taken: list[Settings]
) -> None:
    done = call(command, "--nats-url", "nats://u:hidden@h", variables={"K_CONFIG": "/dev/null"})
    assert taken[-1][NATS_URL] == "nats://u:hidden@h"
    assert "K_NATS_URL" in done.stderr
    assert "hidden" not in done.output
    quiet = call(command, "--nats-url", "nats://h", variables={"K_CONFIG": "/dev/null"})
    assert quiet.output == ""


def test_what_is_no_flag_is_refused(command: click.Command) -> None:
    done = call(command, "--api.prot", "1", variables={"K_CONFIG": "/dev/null"})
    assert done.exit_code == 2
    assert "--api.port" in done.output, "it says what may have been meant"


def test_a_flag_that_is_left_out_leaves_it_to_variable_and_file(
    command: click.Command, taken: list[Settings], variables: Mapping[str, str]
) -> None:
    call(command, variables=variables)
    assert (taken[-1][API_PORT], taken[-1][SENDER_HOSTNAME]) == (4444, "mail.example.com")
