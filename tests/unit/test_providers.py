"""Who runs an exchanger, by its name."""

import pytest

from kannon.core.providers import provider_of


@pytest.mark.parametrize(
    ("exchanger", "provider"),
    [
        ("gmail-smtp-in.l.google.com", "google"),
        ("ASPMX.L.GOOGLE.COM.", "google"),
        ("example-com.mail.protection.outlook.com", "microsoft"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx1.example.net", "example.net"),
        ("mx.mail.example.co.uk", "example.co.uk"),
        ("mail.example.com.br", "example.com.br"),
        ("co.uk", "co.uk"),
        ("com.example.de", "example.de"),
        ("localhost", "localhost"),
        ("192.0.2.25", "192.0.2.25"),
        ("2001:db8::25", "2001:db8::25"),
        ("", ""),
    ],
)
def test_the_registrable_part_names_a_provider_or_its_own_name_where_it_is_well_known(
    exchanger: str, provider: str
) -> None:
    assert provider_of(exchanger) == provider
