"""Who is let in, without a transport: what headers may hold, and what is recorded of it."""

import base64
import hmac
import inspect
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway import credentials
from api_gateway.auditor import Auditor
from api_gateway.credentials import AdminCheck, KeyCheck, is_attribution, key_hash
from api_gateway.endpoints import Call, Doorkeeper, endpoints
from api_gateway.grpc_server import client_of
from api_gateway.refusals import Foreign, PermissionDenied, Unauthenticated
from api_gateway.services import services
from kannon.adapters.pb.admin_pb2 import GetTemplateReq
from kannon.adapters.pb.stats_v1_pb2 import GetStatsReq
from kannon.core.access import Caller, Role
from kannon.core.audit import AuditRecord, Decision
from kannon.core.errors import BadInput
from kannon.core.limits import Limits, OwnLimits
from kannon.ports import KeyRecord
from tests.fakes_audit import FakeAuditTrail
from tests.fakes_gateway import FakeDirectory

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
KEY, ENDED, TOKEN = "k_" + "aB3x" * 16, "k_" + "zzzz" * 16, "the-admin-token"
RECORD = KeyRecord("key_1", KEY[:8], "", "example.com", NOW, None, None, Role.READER)
GET_STATS = "kannon.StatsApiV1/GetStats"
GET_DOMAIN = "pkg.kannon.admin.apiv1.Api/GetDomain"
SEND_HTML = "pkg.kannon.mailer.apiv1.Mailer/SendHTML"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def basic(domain: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{domain}:{key}".encode()).decode()


class Door:
    """A doorkeeper with one key of `example.com` and one that has ended."""

    def __init__(self) -> None:
        self.trail = FakeAuditTrail()
        self.auditor = Auditor(self.trail, lambda: NOW)
        ended = replace(RECORD, id="key_2", deactivated_at=NOW)
        keys = {key_hash(KEY): RECORD, key_hash(ENDED): ended}
        self.directory = FakeDirectory(records_of_keys=keys)
        self.keeper = Doorkeeper(
            KeyCheck(self.directory, lambda: NOW), AdminCheck(TOKEN), self.auditor, Limits(1, 2, 3)
        )
        desks: list[Any] = [_Anything() for _ in inspect.signature(services).parameters]
        self.endpoints = endpoints(services(*desks), self.auditor)

    async def admit(self, procedure: str, headers: Mapping[str, str]) -> Call:
        return await self.keeper.admit(
            self.endpoints[procedure], lambda name: headers.get(name, ""), TRACE, "192.0.2.1"
        )

    async def recorded(self) -> list[AuditRecord]:
        await self.auditor.close(5)
        return list(self.trail.records.values())


class _Anything:
    """Desks of which no procedure is built."""

    def __getattr__(self, name: str) -> Any:
        async def procedure(_request: object, _call: Call) -> str:
            return name

        return procedure


@pytest.fixture
def door() -> Door:
    return Door()


async def test_a_call_knows_its_caller_and_the_limits_that_hold(door: Door) -> None:
    door.directory.limits_of["example.com"] = OwnLimits(mails_per_day=7)
    headers = {"authorization": basic("example.com", KEY), "x-kannon-attribution": "Ünï"}
    call = await door.admit(GET_STATS, headers)
    assert call.domain == "example.com"
    assert call.limits == Limits(1, 7, 3)
    assert call.caller == Caller(Role.READER, "key_1", "192.0.2.1", "Ünï")


@pytest.mark.parametrize(
    ("headers", "cause", "domain", "key_id"),
    [
        ({}, "no credentials", "", ""),
        ({"authorization": "Bearer x"}, "malformed credentials", "", ""),
        ({"authorization": basic("example.com", "k_x")}, "unknown key", "example.com", ""),
        ({"authorization": basic("example.org", KEY)}, "unknown key", "example.org", ""),
        ({"authorization": basic("example.com", ENDED)}, "deactivated key", "example.com", "key_2"),
        ({"x-kannon-admin-token": "x"}, "wrong admin token", "", ""),
    ],
)
async def test_every_failed_authentication_is_recorded_with_its_cause_and_told_without(
    door: Door, headers: dict[str, str], cause: str, domain: str, key_id: str
) -> None:
    with pytest.raises(Unauthenticated, match=r"^the credentials are missing or not valid$"):
        await door.admit(GET_STATS, headers | {"x-kannon-attribution": "me"})
    (record,) = await door.recorded()
    assert (record.decision, record.reason) == (Decision.UNAUTHENTICATED, cause)
    assert (record.domain, record.key_id, record.role) == (domain, key_id, "")
    assert (record.procedure, record.client, record.attribution) == (GET_STATS, "192.0.2.1", "me")


async def test_what_a_role_may_not_is_recorded(door: Door) -> None:
    with pytest.raises(PermissionDenied):
        await door.admit(SEND_HTML, {"authorization": basic("example.com", KEY)})
    (record,) = await door.recorded()
    assert (record.decision, record.role, record.key_id) == (Decision.DENIED, "reader", "key_1")
    assert record.reason == "a key with the role reader may not call this"


@pytest.mark.parametrize(
    ("procedure", "request_", "headers", "decision", "domain"),
    [
        (GET_STATS, GetStatsReq(domain="example.com"), "key", Decision.ALLOWED, "example.com"),
        (GET_STATS, GetStatsReq(), "key", Decision.ALLOWED, "example.com"),
        (GET_STATS, GetStatsReq(domain="example.org"), "key", Decision.DENIED, "example.com"),
        (GET_STATS, GetStatsReq(domain="Example.ORG"), "token", Decision.ALLOWED, "example.org"),
        (GET_STATS, GetStatsReq(domain="no domain"), "token", Decision.ALLOWED, ""),
    ],
)
async def test_what_was_decided_about_a_call_is_recorded_once(
    door: Door, procedure: str, request_: Any, headers: str, decision: Decision, domain: str
) -> None:
    given_ = {"authorization": basic("example.com", KEY)} if headers == "key" else {}
    call = await door.admit(procedure, given_ or {"x-kannon-admin-token": TOKEN})
    with suppress(Foreign):
        await door.endpoints[procedure].procedure(request_, call)
    (record,) = await door.recorded()
    assert (record.decision, record.domain, record.trace) == (decision, domain, TRACE)
    assert record.role == ("reader" if headers == "key" else "admin")


async def test_no_secret_is_recorded(door: Door) -> None:
    for headers in (
        {"authorization": basic("example.com", KEY)},
        {"authorization": basic("example.com", ENDED)},
        {"authorization": basic(KEY, KEY)},
        {"authorization": KEY},
        {"x-kannon-admin-token": TOKEN},
        {"x-kannon-admin-token": KEY},
    ):
        with suppress(Unauthenticated):
            call = await door.admit(GET_STATS, headers)
            await door.endpoints[GET_STATS].procedure(GetStatsReq(domain="example.com"), call)
    told = str(await door.recorded())
    for secret in (KEY, ENDED, TOKEN, KEY[2:], basic("example.com", KEY)[6:]):
        assert secret not in told


async def test_a_template_of_another_domain_does_not_exist(door: Door) -> None:
    procedure = "pkg.kannon.admin.apiv1.Api/GetTemplate"
    call = await door.admit(procedure, {"authorization": basic("example.com", KEY)})
    for template_id in (
        "a@example.org",
        "a@x@example.org",
        "example.com",
        "a@example.com.",
        "a@EXAMPLE.COM",
    ):
        with pytest.raises(Foreign, match="there is no template of that name"):
            await door.endpoints[procedure].procedure(GetTemplateReq(template_id=template_id), call)
    assert await door.endpoints[procedure].procedure(GetTemplateReq(template_id="a@example.com"), call)


@pytest.mark.parametrize("text", ["a\nb", "\x00", "a\x7f", "\x85", "x" * 257, "ü" * 129, "\udcff"])
async def test_what_cannot_be_kept_of_a_caller_is_refused_after_its_credentials(
    door: Door, text: str
) -> None:
    with pytest.raises(Unauthenticated):
        await door.admit(GET_STATS, {"x-kannon-attribution": text})
    headers = {"authorization": basic("example.com", KEY), "x-kannon-attribution": text}
    with pytest.raises(BadInput, match=r"^x-kannon-attribution: "):
        await door.admit(GET_STATS, headers)
    assert {record.attribution for record in await door.recorded()} == {""}


@given(st.text())
def test_an_attribution_that_is_taken_fits(text: str) -> None:
    if is_attribution(text):
        assert len(text.encode()) <= 256
        assert not set(text) & {chr(number) for number in (*range(32), *range(127, 160))}


_pieces = st.sampled_from(
    ["Basic", "basic ", " ", ":", "=", "example.com", KEY, basic("example.com", KEY)[:-3], ",", "é"]
)


@given(
    st.one_of(
        st.text(),
        st.text(string.printable),
        st.lists(_pieces).map("".join),
        st.binary().map(lambda octets: "Basic " + base64.b64encode(octets).decode()),
        st.text().map(lambda key: basic("example.com", key)),
        st.text().map(lambda domain: basic(domain, KEY)),
    )
)
async def test_no_header_but_the_right_one_opens_a_door(authorization: str) -> None:
    door = Door()
    headers = {"authorization": authorization}
    if _holds_the_key(authorization):
        assert (await door.admit(GET_STATS, headers)).domain == "example.com"
        return
    with pytest.raises(Unauthenticated, match=r"^the credentials are missing or not valid$"):
        await door.admit(GET_STATS, headers)
    (record,) = await door.recorded()
    assert record.decision is Decision.UNAUTHENTICATED


def _holds_the_key(authorization: str) -> bool:
    scheme, _, encoded = authorization.partition(" ")
    try:
        domain, _, key = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return False
    return (scheme.lower(), domain.lower(), key) == ("basic", "example.com", KEY)


async def test_secrets_are_compared_by_hashes_of_one_length(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked up and what is compared are SHA-256 hashes: time tells nothing of what they are of."""
    compared: list[tuple[bytes, bytes]] = []
    compare_digest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr(credentials.hmac, "compare_digest", compare)  # type: ignore[attr-defined]
    looked_up: list[bytes] = []

    class Looking(FakeDirectory):
        async def key(self, domain: str, key_hash: bytes) -> None:
            looked_up.append(key_hash)

    check = AdminCheck(TOKEN, "a second")
    for token in ("", "t", TOKEN, "x" * 10_000):
        with suppress(Unauthenticated):
            check.check(token)
    assert len(compared) == 8
    assert {len(one) for pair in compared for one in pair} == {32}
    for key in ("", "k", KEY, "x" * 10_000):
        with pytest.raises(Unauthenticated):
            await KeyCheck(Looking(), lambda: NOW).holder(basic("example.com", key))
    assert {len(one) for one in looked_up} == {32}


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:192.0.2.1:50000", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:50000", "2001:db8::1"),
        ("unix:/a/path", ""),
        ("unix:", ""),
        ("", ""),
    ],
)
def test_a_peer_is_known_by_its_address(peer: str, client: str) -> None:
    assert client_of(peer) == client
