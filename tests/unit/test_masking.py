"""What is shown of URLs that hold credentials."""

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.runtime.masking import masked_url


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql://kannon:hunter2@db:5432/kannon", "postgresql://***@db:5432/kannon"),
        ("postgresql://db/kannon", "postgresql://db/kannon"),
        ("postgresql://db/kannon?password=hunter2&sslmode=require", "postgresql://db/kannon?***"),
        ("postgresql:///kannon", "postgresql:///kannon"),
        ("nats://hunter2@nats:4222", "nats://***@nats:4222"),
        ("nats://a:hunter2@one:4222,nats://b:hunter2@two:4222", "nats://***@one:4222,nats://***@two:4222"),
        ("nats://u:p@[::1]:4222", "nats://***@[::1]:4222"),
    ],
)
def test_the_place_is_shown_and_the_credentials_are_not(written: str, shown: str) -> None:
    assert masked_url(written) == shown


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://u:hunter/2@db/kannon",
        "postgresql://u:hunter?2@db/kannon",
        "postgresql://u:hunter#2@db/kannon",
        "postgresql://u:hun,ter2@db/kannon",
        "postgresql://u:hunter@2@db/kannon",
        "hunter2",
    ],
)
def test_what_can_be_read_in_two_ways_is_not_shown_at_all(written: str) -> None:
    assert masked_url(written) == "set"


@given(st.text(string.printable), st.text(string.printable), st.booleans())
def test_no_password_is_ever_shown(before: str, after: str, encoded: bool) -> None:
    password = f"{before}hunter{after}"
    written = quote(password, safe="") if encoded else password
    assert "hunter" not in masked_url(f"postgresql://user:{written}@db.example/kannon?x={written}")
    assert "hunter" not in masked_url(f"nats://{written}@one:4222,nats://{written}@two:4222")
