"""The audit trail of a gateway: what is recorded, shown, and left out."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from grpc import StatusCode

from kannon.adapters.pb import admin_pb2
from kannon.adapters.pb.admin_pb2 import CreateAPIKeyRequest, ListAuditRecordsReq
from tests.conftest import Eventually
from tests.gateway_client import ADMIN_TOKEN, Client, Tenant, basic, refusal, rows, running_gateway

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def client(database_url: str, nats_url: str) -> AsyncIterator[Client]:
    """Calls a gateway that records who calls it."""
    async with running_gateway(database_url, nats_url, audit=True) as client:
        yield client


async def records(gateway: Client, **wanted: object) -> list[admin_pb2.AuditRecord]:
    found: list[admin_pb2.AuditRecord] = []
    request = ListAuditRecordsReq(take=2, **wanted)  # type: ignore[arg-type]
    while True:
        page = await gateway.admin("Api/ListAuditRecords", request)
        found.extend(page.records)
        if not page.next:
            return found
        request.before = page.next


async def until_there(
    client: Client, eventually: Eventually, database_url: str, count: int, domain: str
) -> list[admin_pb2.AuditRecord]:
    """The records about a domain, once there are so many; oldest first."""
    text = "SELECT count(*) AS found FROM audit_records WHERE domain = %s"
    assert await eventually(lambda: rows(database_url, text, domain)[0]["found"] >= count)
    return list(reversed(await records(client, domain=domain)))


async def test_every_decision_about_a_domain_is_recorded(
    client: Client, tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    made = await client.admin("Api/CreateAPIKey", CreateAPIKeyRequest(domain=tenant.domain, role="reader"))
    right, wrong = basic(tenant.domain, tenant.key), basic(tenant.domain, "k_x")
    about = {"x_kannon_attribution": "import 7", "traceparent": TRACE}
    await client.call("Mailer/SendHTML", tenant.mail("a@b.test"), authorization=right, **about)
    for procedure, request, authorization in (
        ("Mailer/SendHTML", tenant.mail("a@b.test"), wrong),
        ("Mailer/SendHTML", tenant.mail("a@b.test"), basic(tenant.domain, made.key)),
        ("Api/Diagnose", admin_pb2.DiagnoseReq(), right),
        ("Mailer/SendHTML", tenant.mail("a@b.test", html=""), right),
    ):
        await refusal(client.call(procedure, request, authorization=authorization, **about))
    found = await until_there(client, eventually, database_url, 8, tenant.domain)
    told = [(one.procedure.rpartition(".")[2], one.decision, one.role, one.reason) for one in found]
    assert told == [
        ("Api/CreateDomain", "allowed", "admin", ""),
        ("Api/CreateAPIKey", "allowed", "admin", ""),
        ("Api/CreateAPIKey", "allowed", "admin", ""),
        ("Mailer/SendHTML", "allowed", "default", ""),
        ("Mailer/SendHTML", "unauthenticated", "", "unknown key"),
        ("Mailer/SendHTML", "denied", "reader", "a key with the role reader may not call this"),
        ("Api/Diagnose", "denied", "default", "a key with the role default may not call this"),
        ("Mailer/SendHTML", "allowed", "default", ""),
    ]
    sent = found[3]
    assert (sent.client, sent.attribution, sent.trace, sent.count) == ("127.0.0.1", "import 7", TRACE, 1)
    assert found[5].key_id == made.api_key.id
    for secret in (tenant.key, made.key, ADMIN_TOKEN, "a@b.test"):
        assert secret not in str(rows(database_url, "SELECT * FROM audit_records"))


async def test_records_are_found_by_what_they_say(
    client: Client, tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    for _ in range(3):
        await refusal(
            client.call("Mailer/SendHTML", tenant.mail(), authorization=basic(tenant.domain, "k_x"))
        )
    await until_there(client, eventually, database_url, 5, tenant.domain)
    wanted = {"domain": tenant.domain, "decision": "unauthenticated", "client": "127.0.0.1"}
    assert len(await records(client, **wanted, procedure="Mailer/SendHTML")) == 3
    assert await records(client, **wanted, procedure="Mailer/SendTemplate") == []
    assert await records(client, **wanted, key_id="key_x") == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"take": 1001}, "take: "),
        ({"decision": "maybe"}, "decision: "),
        ({"domain": "no domain"}, "domain: "),
        ({"procedure": "\0"}, "procedure: "),
        ({"before": "1"}, "before: "),
        ({"before": "1.x"}, "before: "),
        ({"before": "9" * 17 + ".1"}, "before: "),
    ],
)
async def test_what_is_asked_wrongly(client: Client, fields: dict[str, object], text: str) -> None:
    request = ListAuditRecordsReq(**fields)  # type: ignore[arg-type]
    code, said = await refusal(client.admin("Api/ListAuditRecords", request))
    assert code is StatusCode.INVALID_ARGUMENT
    assert said.startswith(text)


async def test_a_place_far_away_is_an_empty_page(client: Client) -> None:
    await client.admin("Api/ListAuditRecords", ListAuditRecordsReq(before="0.0"))
    await client.admin("Api/ListAuditRecords", ListAuditRecordsReq(before="9" * 16 + "." + "9" * 18))


async def test_an_owner_sees_what_is_of_its_domain(
    client: Client, tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    await client.tenant()
    owner = await client.admin("Api/CreateAPIKey", CreateAPIKeyRequest(domain=tenant.domain, role="owner"))
    await until_there(client, eventually, database_url, 3, tenant.domain)
    page = await client.call(
        "Api/ListAuditRecords", ListAuditRecordsReq(), authorization=basic(tenant.domain, owner.key)
    )
    assert {one.domain for one in page.records} == {tenant.domain}


async def test_calls_are_answered_though_nothing_can_be_recorded(
    client: Client, database_url: str, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit_records RENAME TO hidden")
    try:
        await client.admin("Api/GetDomains", admin_pb2.GetDomainsReq())
        code, _ = await refusal(client.call("Api/GetDomains", admin_pb2.GetDomainsReq()))
        assert code is StatusCode.UNAUTHENTICATED
        assert await eventually(lambda: "audit records are lost" in caplog.messages)
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ALTER TABLE hidden RENAME TO audit_records")


async def test_nothing_is_recorded_where_that_is_not_enabled(database_url: str, nats_url: str) -> None:
    async with running_gateway(database_url, nats_url) as quiet:
        tenant = await quiet.tenant()
        await tenant.send("a@b.test")
    text = "SELECT * FROM audit_records WHERE domain = %s"
    assert rows(database_url, text, tenant.domain) == []
