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


def test_flag_beats_variable_beats_file_beats_default(file: Path) -> None:
    variables = {"K_API_PORT": "2222"}
    assert Settings.load({}, {})[s.API_PORT] == 50051
    assert Settings.load({}, {}, file)[s.API_PORT] == 1111
    assert Settings.load({}, variables, file)[s.API_PORT] == 2222
    assert Settings.load({"api.port": "3333"}, variables, file)[s.API_PORT] == 3333


def test_each_value_knows_where_it_came_from(file: Path) -> None:
    loaded = Settings.load({"debug": "true"}, {"K_API_PORT": "1"}, file)
    sources = [loaded.source(x) for x in (s.DEBUG, s.API_PORT, s.SENDER_HOSTNAME, s.EDGE_NAME)]
    assert sources == ["flag --debug", "variable K_API_PORT", f"file {file}", "default"]


def test_keys_may_be_nested_or_dotted_in_the_file(file: Path) -> None:
    assert Settings.load({}, {}, file)[s.SENDER_HOSTNAME] == "mail.example.com"
    assert Settings.load({}, {}, file)[s.DEBUG] is True


def test_an_unknown_key_in_the_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("api:\n  prot: 1\n")
    with pytest.raises(SettingsError, match=r"no setting 'api\.prot'"):
        Settings.load({}, {}, tmp_path / "k.yaml")


def test_an_unknown_variable_stops_the_start_but_knatives_own_do_not() -> None:
    with pytest.raises(SettingsError, match="K_API_PROT"):
        Settings.load({}, {"K_API_PROT": "1"})
    Settings.load({}, {"K_SINK": "http://x", "K_REVISION": "verify-1", "KUBECONFIG": "x"})


@pytest.mark.parametrize("content", ["- a\n- b", "a: [", "just text"])
def test_a_file_that_is_not_keys_and_values_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.yaml").write_text(content)
    with pytest.raises(SettingsError, match="config"):
        Settings.load({}, {}, tmp_path / "k.yaml")


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
        (s.EDGE_TARGETS, "edge-0=a:1, edge-1=b:2", {"edge-0": "a:1", "edge-1": "b:2"}),
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
        Settings.load({}, {}, tmp_path / "k.yaml")


def test_a_file_that_cannot_be_read_says_where(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("debug: true\napi: [\n")
    with pytest.raises(SettingsError, match="line 3"):
        Settings.load({}, {}, tmp_path / "k.yaml")


def test_every_value_can_be_checked_at_once() -> None:
    Settings.load({}, {}).check()
    with pytest.raises(SettingsError, match="K_SENDER_RETRY_MIN"):
        Settings.load({"sender.retry.min": "5x"}, {}).check()
