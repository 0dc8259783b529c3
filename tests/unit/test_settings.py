"""Settings: where they come from, and how they are refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from kannon.core.keys import Purpose, subkey
from kannon.runtime import settings as s
from kannon.runtime.keys import encode_key, key_for
from kannon.runtime.settings import Settings, SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kannon.yaml"
    path.write_text("api:\n  port: 1111\ndebug: true\nsender.hostname: mail.example.com\n")
    return path


def read(path: Path, **variables: str) -> Settings:
    """The settings of a file, and variables beside it."""
    return Settings.load({}, {"K_CONFIG": str(path)} | variables)


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "k.yaml"
    path.write_text(content)
    return path


def test_flag_beats_variable_beats_file_beats_default(file: Path) -> None:
    variables = {"K_CONFIG": str(file), "K_API_PORT": "2222"}
    assert Settings.load({}, {})[s.API_PORT] == 50051
    assert read(file)[s.API_PORT] == 1111
    assert Settings.load({}, variables)[s.API_PORT] == 2222
    assert Settings.load({"api.port": "3333"}, variables)[s.API_PORT] == 3333


def test_the_file_is_named_by_a_flag_or_a_variable_or_is_the_usual_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.load({}, {})[s.API_PORT] == 50051, "the usual one need not be there"
    (tmp_path / ".kannon.yaml").write_text("api.port: 4444")
    assert Settings.load({}, {})[s.API_PORT] == 4444
    assert Settings.load({}, {"K_CONFIG": str(file)})[s.API_PORT] == 1111
    other = written(tmp_path, "api.port: 5555")
    assert Settings.load({"config": str(other)}, {"K_CONFIG": str(file)})[s.API_PORT] == 5555


def test_an_empty_value_counts_as_not_given_wherever_it_stands(tmp_path: Path) -> None:
    path = written(tmp_path, "api.port: 1111\nedge.name:\nsender.hostname: ''\ndebug: ~\n")
    loaded = Settings.load({"api.port": ""}, {"K_CONFIG": str(path), "K_API_PORT": ""})
    assert loaded[s.API_PORT] == 1111
    assert loaded[s.EDGE_NAME] == "edge-0"
    assert loaded[s.DEBUG] is False
    assert loaded.get(s.SENDER_HOSTNAME) is None


def test_a_heading_beneath_which_all_is_commented_out_is_no_unknown_key(tmp_path: Path) -> None:
    assert read(written(tmp_path, "sender:\n#  max_jobs: 3\n"))[s.SENDER_MAX_JOBS] == 10
    with pytest.raises(SettingsError, match="no setting 'sendr'"):
        read(written(tmp_path, "sendr:\n"))


def test_each_value_knows_where_it_came_from(file: Path) -> None:
    loaded = Settings.load({"debug": "true"}, {"K_CONFIG": str(file), "K_API_PORT": "1"})
    sources = [loaded.source(x) for x in (s.DEBUG, s.API_PORT, s.SENDER_HOSTNAME, s.EDGE_NAME)]
    assert sources == ["flag --debug", "variable K_API_PORT", f"file {file}", "default"]


def test_keys_may_be_nested_or_dotted_in_the_file(file: Path) -> None:
    assert read(file)[s.SENDER_HOSTNAME] == "mail.example.com"
    assert read(file)[s.DEBUG] is True


def test_an_unknown_key_in_the_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("api:\n  prot: 1\n")
    with pytest.raises(SettingsError, match=r"no setting 'api\.prot'; did you mean api\.port\?"):
        read(tmp_path / "k.yaml")


def test_an_unknown_variable_stops_the_start_but_knatives_own_do_not() -> None:
    with pytest.raises(SettingsError, match=r"K_API_PROT: .* did you mean K_API_PORT\?"):
        Settings.load({}, {"K_API_PROT": "1"})
    Settings.load({}, {"K_SINK": "http://x", "K_REVISION": "verify-1", "KUBECONFIG": "x"})


@pytest.mark.parametrize(
    "content",
    [
        "- a\n- b",
        "a: [",
        "just text",
        "edge.name: [a, b]",
        "? [a]\n: b",
        "a: 1\n---\nb: 2",
        "api: &a\n  port: *a",
    ],
)
def test_a_file_that_is_not_keys_and_values_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.yaml").write_text(content)
    with pytest.raises(SettingsError, match="config"):
        read(tmp_path / "k.yaml")


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="K_CONFIG"):
        Settings.load({}, {"K_CONFIG": str(tmp_path / "none.yaml")})


def test_a_required_setting_that_is_missing_names_key_and_variable() -> None:
    with pytest.raises(SettingsError, match=r"sender\.hostname \(K_SENDER_HOSTNAME\) is required"):
        Settings.load({}, {})[s.SENDER_HOSTNAME]


@pytest.mark.parametrize(
    ("setting", "written", "meant"),
    [
        (s.SENDER_RETRY_MIN, "1h30m", timedelta(minutes=90)),
        (s.SENDER_RETRY_MIN, "500ms", timedelta(milliseconds=500)),
        (s.SENDER_MAX_AMBIGUOUS, "0", 0),
        (s.API_MAX_MESSAGE, "1024kb", 1024 * 1024),
        (s.API_MAX_MESSAGE, "32MB", 32 * 1024 * 1024),
        (s.EDGE_ADDRESS, ":25", ("0.0.0.0", 25)),
        (s.EDGE_ADDRESS, "[::1]:2525", ("::1", 2525)),
        (s.DNS_SERVERS, "127.0.0.1:5353,9.9.9.9", (("127.0.0.1", 5353), ("9.9.9.9", 53))),
        (s.EDGE_TARGETS, "edge-0=a:1, edge-1=[::1]:2", {"edge-0": "a:1", "edge-1": "[::1]:2"}),
        (s.SMTP_ADDRESS, ":25", ("0.0.0.0", 25)),
        (s.SMTP_READ_TIMEOUT, "10s", timedelta(seconds=10)),
        (s.SMTP_MAX_PAYLOAD, "1024kb", 1024 * 1024),
        (s.SMTP_MAX_RECIPIENTS, "100", 100),
        (s.SMTP_MAILBOX_DOMAINS, "a.example, b.example", ("a.example", "b.example")),
        (s.SMTP_FEEDBACK_ADDRESSES, "fbl@a.example,x+y@b.example", ("fbl@a.example", "x+y@b.example")),
        (s.RUN_API, "true", True),
        (s.TRACES_RATIO, "0.05", 0.05),
        (s.TRACES_ENDPOINT, "http://collector:4318", "http://collector:4318"),
    ],
)
def test_values_are_read_as_people_write_them(setting: s.Setting, written: str, meant: object) -> None:
    assert Settings.load({setting.key: written}, {})[setting] == meant


@pytest.mark.parametrize(
    ("setting", "written"),
    [
        (s.SENDER_RETRY_MIN, "5"),
        (s.SENDER_RETRY_MIN, "5 minutes"),
        (s.API_MAX_MESSAGE, "big"),
        (s.API_PORT, "70000"),
        (s.TRACES_RATIO, "1.5"),
        (s.TRACES_RATIO, "often"),
        (s.TRACES_ENDPOINT, "collector:4318"),
        (s.API_PORT, "-1"),
        (s.DEBUG, "perhaps"),
        (s.SENDER_MAX_JOBS, "0"),
        (s.SENDER_MAX_AMBIGUOUS, "-1"),
        (s.SENDER_TIMEOUT_SCALE, "nan"),
        (s.SENDER_TIMEOUT_SCALE, "-1"),
        (s.EDGE_ADDRESS, "25"),
        (s.SENDER_ROUTES, "nonsense"),
        (s.SENDER_ALLOW_NETWORKS, "300.0.0.0/8"),
        (s.EDGE_TARGETS, "edge-0"),
        (s.EDGE_TARGETS, "edge-0=somewhere"),
        (s.EDGE_TARGETS, "edge-0=:50052"),
        (s.EDGE_TARGETS, "edge-0=a:0"),
        (s.EDGE_TARGETS, "edge-0=a:1,edge-0=b:1"),
        (s.EDGE_NAME, "an edge"),
        (s.EDGE_ADDRESS, "::1:50052"),
        (s.SMTP_MAX_PAYLOAD, "0kb"),
        (s.SMTP_READ_TIMEOUT, "0s"),
        (s.SMTP_MAX_RECIPIENTS, "0"),
        (s.SMTP_MAX_RECIPIENTS, "101"),
        (s.SMTP_MAILBOX_DOMAINS, "a.example,b c"),
        (s.SMTP_FEEDBACK_ADDRESSES, "a.example"),
        (s.SMTP_FEEDBACK_ADDRESSES, "<fbl@a.example>"),
        (s.RUN_STATS, "maybe"),
        (s.NATS_URL, "http://127.0.0.1"),
        (s.DATABASE_URL, "mysql://h/d"),
        (s.SECRET, "short"),
    ],
)
def test_a_malformed_value_names_its_key_and_variable(setting: s.Setting, written: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.load({setting.key: written}, {})[setting]
    assert setting.key in str(error.value)
    assert setting.variable in str(error.value)


def test_a_secret_value_never_stands_in_an_error() -> None:
    loaded = Settings.load({"keys.events": "hunter2"}, {})
    with pytest.raises(SettingsError) as error:
        key_for(loaded, Purpose.EVENTS)
    assert "hunter2" not in str(error.value)


def test_a_key_is_given_or_derived_and_both_are_the_same() -> None:
    derived = key_for(Settings.load({"secret": "s" * 32}, {}), Purpose.EVENTS)
    assert derived == subkey(b"s" * 32, Purpose.EVENTS)
    assert key_for(Settings.load({"keys.events": encode_key(derived)}, {}), Purpose.EVENTS) == derived


def test_without_key_and_secret_the_error_names_both() -> None:
    with pytest.raises(SettingsError, match=r"keys\.envelopes .* or secret \(K_SECRET\) is required"):
        key_for(Settings.load({}, {}), Purpose.ENVELOPES)


def test_a_key_that_stands_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("api.port: 1\napi:\n  port: 2\n")
    with pytest.raises(SettingsError, match=r"'api\.port' stands there twice"):
        read(tmp_path / "k.yaml")


def test_a_file_that_cannot_be_read_says_where(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("debug: true\napi: [\n")
    with pytest.raises(SettingsError, match="line 3"):
        read(tmp_path / "k.yaml")


def test_every_value_can_be_checked_at_once() -> None:
    Settings.load({}, {}).check()
    with pytest.raises(SettingsError, match="K_SENDER_RETRY_MIN"):
        Settings.load({"sender.retry.min": "5x"}, {}).check()


def test_values_are_taken_as_they_are_written(tmp_path: Path) -> None:
    path = written(tmp_path, "secret: 00112233445566778899\nsender.hostname: on\napi.admin_token: 0x10\n")
    loaded = read(path)
    assert loaded[s.SECRET] == "00112233445566778899"
    assert loaded[s.SENDER_HOSTNAME] == "on"
    assert loaded[s.API_ADMIN_TOKEN] == "0x10"


def test_the_file_cannot_name_another_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'config' cannot stand in the file"):
        read(written(tmp_path, "config: other.yaml"))


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"no setting 'api\.prot'"):
        Settings.load({"api.prot": "1"}, {})


def test_a_value_that_is_made_is_used_only_where_none_is_given() -> None:
    made = Settings.load({"api.port": "1"}, {}).with_defaults({s.API_PORT: "2", s.EDGE_NAME: "made"})
    assert (made[s.API_PORT], made[s.EDGE_NAME]) == (1, "made")
    assert (made.source(s.API_PORT), made.source(s.EDGE_NAME)) == ("flag --api.port", "made at the start")


def test_what_is_handed_to_other_processes_holds_no_secret() -> None:
    given = Settings.load({}, {"K_API_PORT": "1", "K_SECRET": "s" * 32, "K_NATS_URL": "nats://u:p@h"})
    assert given.written() == {"K_API_PORT": "1"}


def test_no_two_settings_share_a_variable_and_each_belongs_under_a_heading() -> None:
    assert len({setting.variable for setting in s.ALL.values()}) == len(s.ALL)
    assert {setting.group for setting in s.ALL.values()} == set(s.GROUPS)


def test_every_setting_of_the_design_is_there_with_its_default() -> None:
    designed = {
        "database_url": None, "nats_url": None, "debug": "false", "config": "~/.kannon.yaml",
        "api.port": "50051", "api.admin_token": None,
        "sender.hostname": None, "sender.max_jobs": "10", "sender.demo_sender": "false",
        "smtp.address": ":25", "smtp.domain": "localhost", "smtp.read_timeout": "10s",
        "smtp.write_timeout": "10s", "smtp.max_payload": "1024kb", "smtp.max_recipients": "50",
        "run-api": "false", "run-smtp": "false", "run-sender": "false", "run-dispatcher": "false",
        "run-verifier": "false", "run-bounce": "false", "run-stats": "false",
    }  # fmt: skip
    assert {key: s.ALL[key].default for key in designed} == designed


def test_every_default_is_a_value_that_could_be_given() -> None:
    written = {key: setting.default for key, setting in s.ALL.items() if setting.default and key != "config"}
    Settings.load(written, {}).check()
