"""What a SinkBinding says, and which routes follow from it and the settings."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kannon.core.answers import seconds_of
from kannon.runtime.binding import Binding, Token
from kannon.runtime.settings import Settings, SettingsError
from nats_source.main import routes_of

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def test_overrides_become_headers() -> None:
    binding = Binding.read({"K_CE_OVERRIDES": '{"extensions": {"team": "mail", "tier": "1"}}'})
    assert binding.overrides == {"ce-team": "mail", "ce-tier": "1"}


@pytest.mark.parametrize("written", ["", "{}", "null", '{"extensions": null}', '{"extensions": {}}'])
def test_no_overrides(written: str) -> None:
    assert Binding.read({"K_CE_OVERRIDES": written}).overrides == {}


@pytest.mark.parametrize(
    "written",
    [
        "nonsense",
        "[1]",
        '"x"',
        '{"extensions": "x"}',
        '{"extensions": {"Not-A-Name": "x"}}',
        '{"extensions": {"a": "line\\nbreak"}}',
    ],
)
def test_other_overrides_stop_the_start(written: str) -> None:
    with pytest.raises(SettingsError, match="K_CE_OVERRIDES"):
        Binding.read({"K_CE_OVERRIDES": written})


def test_certificates_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="K_CA_CERTS"):
        Binding(ca_certs="no certificate", bundles=tmp_path).trust()


def test_the_token_is_read_again_when_it_was_renewed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = Token(file)
    assert token.headers() == {}
    file.write_text("first\n")
    assert token.headers() == {"authorization": "Bearer first"}
    renewed = tmp_path / "renewed"
    renewed.write_text("other\n")
    renewed.replace(file)  # as a mounted secret changes
    assert token.headers() == {"authorization": "Bearer other"}


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("-3", 0.0),
        ("soon", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 99 Jan 2026 11:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(retry_after: str, seconds: float) -> None:
    assert seconds_of(retry_after, NOW) == seconds


def routes(sink: str = "", **variables: str) -> dict[str, str]:
    return dict(routes_of(Settings.load({}, variables), Binding(sink=sink)))


def test_routes_by_setting_win_over_the_binding() -> None:
    written = "verify=http://127.0.0.1:1/,stats=https://stats.example/"
    expected = {"verify": "http://127.0.0.1:1/", "stats": "https://stats.example/"}
    assert routes(K_SOURCE_ROUTES=written) == expected
    assert routes("http://elsewhere/", K_SOURCE_ROUTES=written) == expected


def test_a_binding_gives_one_route() -> None:
    assert routes("http://send.mail.svc/", K_SOURCE_ROUTE="send") == {"send": "http://send.mail.svc/"}


@pytest.mark.parametrize(
    ("sink", "variables", "named"),
    [
        ("", {}, "K_SOURCE_ROUTES"),
        ("http://send.mail.svc/", {}, "K_SOURCE_ROUTE"),
        ("http://send.mail.svc/", {"K_SOURCE_ROUTE": "outcomes"}, "no stage 'outcomes'"),
        ("", {"K_SOURCE_ROUTES": "sned=http://127.0.0.1/"}, "no stage 'sned'"),
        ("", {"K_SOURCE_ROUTES": "send=127.0.0.1:80"}, "http or https"),
    ],
)
def test_what_cannot_be_a_route_stops_the_start(sink: str, variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        routes(sink, **variables)
