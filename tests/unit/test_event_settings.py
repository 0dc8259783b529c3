"""What the gateway is told of tokens and requests, and what stops its start."""

import pytest

from api_gateway.main import read_settings
from api_gateway.sender_tokens import Issuer
from kannon.runtime.settings import Settings, SettingsError

REQUIRED = {
    "database_url": "postgresql://u:p@127.0.0.1:1/x",
    "nats_url": "nats://127.0.0.1:1",
    "secret": "a secret that is long enough",
    "api.admin_token": "token",
}
TOKENS = {
    "events.audience": "kannon",
    "events.issuer": "https://kubernetes.default.svc",
    "events.subjects": "system:serviceaccount:shop:orders=Mail.Example.COM, b=ü.example",
}


def settings(**flags: str) -> Settings:
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return Settings.load(REQUIRED | named, environment={"K_CONFIG": "/dev/null"})


def test_nothing_of_it_is_turned_on_by_itself() -> None:
    wanted = read_settings(settings())
    assert (wanted.issuer, wanted.takes_requests) == (None, False)
    assert read_settings(settings(events__issuer="https://x.example")).issuer is None


def test_subjects_have_domains_in_a_labels() -> None:
    wanted = read_settings(Settings.load(REQUIRED | TOKENS, environment={"K_CONFIG": "/dev/null"}))
    domains = {"system:serviceaccount:shop:orders": "mail.example.com", "b": "xn--tda.example"}
    assert wanted.issuer == Issuer("https://kubernetes.default.svc", "kannon", domains)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"events.issuer": ""}, "K_EVENTS_ISSUER"),
        ({"events.issuer": "http://issuer.example"}, "K_EVENTS_ISSUER"),
        ({"events.issuer": "issuer"}, "K_EVENTS_ISSUER"),
        ({"events.subjects": "nobody"}, "K_EVENTS_SUBJECTS"),
        ({"events.subjects": "a=no domain"}, "K_EVENTS_SUBJECTS"),
        ({"events.requests": "perhaps"}, "K_EVENTS_REQUESTS"),
    ],
)
def test_what_is_wrong_stops_the_start_and_is_named(changes: dict[str, str], named: str) -> None:
    given = Settings.load(REQUIRED | TOKENS | changes, environment={"K_CONFIG": "/dev/null"})
    with pytest.raises(SettingsError, match=named):
        read_settings(given)
