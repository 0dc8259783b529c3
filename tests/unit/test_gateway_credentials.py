"""Who is let in, and by which address a key may send."""

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from api_gateway.credentials import (
    AdminCheck,
    Holder,
    KeyCheck,
    basic_credentials,
    is_active,
    key_hash,
    masked,
    new_key,
    new_key_id,
)
from api_gateway.refusals import PermissionDenied, Unauthenticated
from api_gateway.sender_rule import SenderRule
from kannon.core.access import Role
from kannon.core.errors import LedgerUnavailable
from kannon.ports import KeyRecord
from tests.fakes_gateway import FakeDirectory

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
KEY = "k_" + "aB3x" * 16
RECORD = KeyRecord("key_1", KEY[:8], "", "example.com", NOW, None, None)


def basic(domain: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{domain}:{key}".encode()).decode()


def check(record: KeyRecord = RECORD, now: datetime = NOW) -> KeyCheck:
    return KeyCheck(FakeDirectory(records_of_keys={key_hash(KEY): record}), lambda: now)


async def test_a_key_opens_its_domain() -> None:
    holder = Holder(Role.DEFAULT, "example.com", "key_1")
    assert await check().holder(basic("example.com", KEY)) == holder
    assert await check().holder(basic("Example.COM", KEY).replace("Basic", "bAsIc")) == holder


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        f"Bearer {KEY}",
        basic("example.com", KEY).replace("Basic", "Digest"),
        "Basic ????",
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(),
        basic("example.com", KEY + "x"),
        basic("example.com", ""),
        basic("example.com", key_hash(KEY).hex()),
        basic("example.org", KEY),
        basic("", KEY),
        basic("not a domain", KEY),
    ],
)
async def test_anything_else_does_not(authorization: str) -> None:
    with pytest.raises(Unauthenticated):
        await check().holder(authorization)


async def test_neither_does_an_ended_key() -> None:
    for record in (
        replace(RECORD, deactivated_at=NOW),
        replace(RECORD, expires_at=NOW),
        replace(RECORD, expires_at=NOW - timedelta(days=1)),
    ):
        with pytest.raises(Unauthenticated):
            await check(record).holder(basic("example.com", KEY))
    assert is_active(replace(RECORD, expires_at=NOW + timedelta(seconds=1)), NOW)


async def test_a_directory_that_is_away_is_no_refusal() -> None:
    with pytest.raises(LedgerUnavailable):
        await KeyCheck(FakeDirectory(away=True), lambda: NOW).holder(basic("example.com", KEY))


@given(st.text())
def test_whatever_is_given_is_read_or_refused(text: str) -> None:
    for authorization in (text, f"Basic {text}"):
        with pytest.raises(Unauthenticated):
            basic_credentials(authorization)


def test_the_admin_token() -> None:
    admin = AdminCheck("tokén")
    admin.check("tokén")
    for wrong in ("", "token", "tokén ", "tokén" * 2, "\udcff"):
        with pytest.raises(Unauthenticated):
            admin.check(wrong)


def test_a_second_admin_token_counts_as_much_as_the_first() -> None:
    admin = AdminCheck("old", "new")
    for token in ("old", "new"):
        admin.check(token)
    for wrong in ("", "oldnew", "old, new"):
        with pytest.raises(Unauthenticated):
            admin.check(wrong)


def test_keys_are_made_as_the_contract_says() -> None:
    assert re.fullmatch(r"k_[A-Za-z0-9]{64}", new_key())
    assert re.fullmatch(r"key_[A-Za-z0-9]{20}", new_key_id())
    assert len({new_key() for _ in range(100)}) == 100
    assert masked(RECORD) == KEY[:8] + "..."


@pytest.mark.parametrize(
    ("sender", "key", "allowed"),
    [
        ("example.com", "example.com", True),
        ("example.com", "k.example.com", True),
        ("k.example.com", "example.com", False),
        ("example.com", "a.k.example.com", False),
        ("other.com", "example.com", False),
        ("ample.com", "example.com", False),
        ("co.uk", "example.co.uk", False),
        ("github.io", "someone.github.io", False),
        ("com", "example.com", False),
        ("tenant.test", "k.tenant.test", True),
        ("registered.test", "k.registered.test", False),
        ("xn--55qx5d.cn", "k.xn--55qx5d.cn", False),
    ],
)
async def test_a_key_sends_from_its_domain_or_the_parent(sender: str, key: str, allowed: bool) -> None:
    directory = FakeDirectory()
    await directory.add_domain("registered.test", b"", "")
    rule = SenderRule(directory, PublicSuffixList().is_public)
    if allowed:
        await rule.check(sender, key)
    else:
        with pytest.raises(PermissionDenied, match=r"^sender\.email: "):
            await rule.check(sender, key)
