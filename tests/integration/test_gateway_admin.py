"""The procedures of admins, and who may call what, over gRPC with real PostgreSQL and NATS."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2, stats_v1_pb2, stats_v2_pb2
from tests.gateway_client import (
    METHODS,
    Client,
    Tenant,
    basic,
    method_named,
    name_of,
    refusal,
)

BUILT = {
    "Mailer/SendHTML",
    "Mailer/SendTemplate",
    "Mailer/RenderTemplate",
    "Mailer/GetBatch",
    "Mailer/CancelBatch",
    "Mailer/RescheduleBatch",
    "Api/GetLimits",
    "Api/SetLimits",
    "Api/ListAuditRecords",
    "Api/CreateDomain",
    "Api/GetDomain",
    "Api/GetDomains",
    "Api/SetTrackingPolicy",
    "Api/CreateTemplate",
    "Api/UpdateTemplate",
    "Api/DeleteTemplate",
    "Api/GetTemplate",
    "Api/GetTemplates",
    "Api/CreateAPIKey",
    "Api/ListAPIKeys",
    "Api/GetAPIKey",
    "Api/DeactivateAPIKey",
    "Api/ListDeliveries",
    "Api/ListDeadLetters",
    "Api/GetDeadLetter",
    "Api/RetryDeadLetters",
    "Api/DropDeadLetters",
    "Api/ListReports",
    "Api/GetReport",
    "Api/Diagnose",
    "Api/ListSuppressions",
    "Api/GetSuppression",
    "Api/AddSuppressions",
    "Api/RemoveSuppression",
    "Api/CreateWebhook",
    "Api/ListWebhooks",
    "Api/GetWebhook",
    "Api/DeleteWebhook",
    "Api/TestWebhook",
    "Api/RotateWebhookSecret",
    "Api/ListWebhookDeliveries",
    "Api/RedeliverWebhook",
    "Api/ExportRecipient",
    "Api/EraseRecipient",
    "StatsApiV1/GetStats",
    "StatsApiV1/GetStatsAggregated",
    "StatsApiV2/GetAggregatedStats",
    "StatsApiV3/GetCounts",
    "StatsApiV3/GetSeries",
    "StatsApiV3/GetLatencies",
    "StatsApiV3/GetTimeline",
    "StatsApiV3/ListOutcomes",
    "StatsApiV3/ListBatches",
    "StatsApiV3/ExportOutcomes",
    "StatsApiV3/StreamOutcomes",
    "HZService/HZ",
}
HOUR = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


async def test_a_domain_and_its_key(client: Client) -> None:
    created = await client.admin(
        "Api/CreateDomain", admin_pb2.CreateDomainRequest(domain="Ünter.Example.com")
    )
    assert created.domain == "xn--nter-zra.example.com"
    public = load_der_public_key(base64.b64decode(created.dkim_pub_key))
    assert isinstance(public, RSAPublicKey)
    assert public.key_size == 2048
    found = await client.admin("Api/GetDomain", admin_pb2.GetDomainReq(domain="ünter.example.com"))
    assert found.domain == created
    listed = await client.admin("Api/GetDomains", admin_pb2.GetDomainsReq())
    assert created in listed.domains

    expires_at = write_timestamp(datetime.now(UTC) + timedelta(days=1))
    request = admin_pb2.CreateAPIKeyRequest(domain=created.domain, name="billing", expires_at=expires_at)
    made = await client.admin("Api/CreateAPIKey", request)
    assert re.fullmatch(r"k_[A-Za-z0-9]{64}", made.key)
    assert made.api_key.id.startswith("key_")
    assert made.api_key.key == made.key[:8] + "..."
    assert (made.api_key.name, made.api_key.domain) == ("billing", created.domain)
    assert made.api_key.is_active
    assert made.api_key.expires_at == expires_at
    assert made.api_key.HasField("created_at")
    assert not made.api_key.HasField("deactivated_at")


@pytest.mark.parametrize(
    ("procedure", "request_", "code", "text"),
    [
        ("Api/CreateDomain", {"domain": ""}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("Api/CreateDomain", {"domain": "a\nb.test"}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("Api/CreateDomain", {"domain": "a." * 95 + "test"}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("Api/GetDomain", {"domain": "none.test"}, StatusCode.NOT_FOUND, "there is no domain none.test"),
        ("Api/GetDomain", {"domain": "a@b.test"}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("Api/CreateAPIKey", {"domain": "none.test"}, StatusCode.NOT_FOUND, "there is no domain none.test"),
        ("Api/CreateAPIKey", {"domain": "none.test", "name": "\0"}, StatusCode.INVALID_ARGUMENT, "name: "),
        (
            "Api/CreateAPIKey",
            {"domain": "none.test", "expires_at": write_timestamp(HOUR.replace(year=2020))},
            StatusCode.INVALID_ARGUMENT,
            "expires_at: ",
        ),
        ("StatsApiV1/GetStats", {"domain": "x"}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("StatsApiV1/GetStats", {"domain": "a.test", "take": 10_001}, StatusCode.INVALID_ARGUMENT, "take: "),
        ("StatsApiV2/GetAggregatedStats", {"domain": "x"}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("Api/ListAPIKeys", {"domain": "none.test"}, StatusCode.NOT_FOUND, "there is no domain none.test"),
        ("Api/ListAPIKeys", {"domain": "a.test", "limit": -1}, StatusCode.INVALID_ARGUMENT, "limit: "),
        ("Api/ListAPIKeys", {"domain": "a.test", "offset": -1}, StatusCode.INVALID_ARGUMENT, "offset: "),
        ("Api/GetAPIKey", {"domain": "a.test", "id": "key_1"}, StatusCode.NOT_FOUND, "id: "),
        ("Api/GetAPIKey", {"domain": "a.test", "id": "\0"}, StatusCode.NOT_FOUND, "id: "),
        ("Api/DeactivateAPIKey", {"domain": "a.test", "id": ""}, StatusCode.NOT_FOUND, "id: "),
        ("Api/DeactivateAPIKey", {"domain": "", "id": "key_1"}, StatusCode.INVALID_ARGUMENT, "domain: "),
        ("Api/ListDeliveries", {"domain": "a.test"}, StatusCode.INVALID_ARGUMENT, "message_id, email: "),
        (
            "Api/ListDeliveries",
            {"domain": "a.test", "message_id": "msg_1"},
            StatusCode.NOT_FOUND,
            "message_id: ",
        ),
        (
            "StatsApiV1/GetStatsAggregated",
            {
                "domain": "a.test",
                "from_date": write_timestamp(HOUR),
                "to_date": write_timestamp(HOUR.replace(hour=1)),
            },
            StatusCode.INVALID_ARGUMENT,
            "from_date: ",
        ),
    ],
)
async def test_what_admins_ask_wrongly(
    client: Client, procedure: str, request_: dict[str, Any], code: StatusCode, text: str
) -> None:
    request = GetMessageClass(method_named(procedure).input_type)(**request_)
    refused, said = await refusal(client.admin(procedure, request))
    assert refused is code
    assert said.startswith(text)


async def test_a_domain_is_created_once(client: Client, tenant: Tenant) -> None:
    again = admin_pb2.CreateDomainRequest(domain=tenant.domain.upper())
    code, text = await refusal(client.admin("Api/CreateDomain", again))
    assert (code, text) == (StatusCode.ALREADY_EXISTS, f"the domain {tenant.domain} exists already")


async def test_statistics(client: Client, tenant: Tenant, database_url: str) -> None:
    data = '{"permanent": true, "code": 550, "msg": "no such user", "category": "unknown"}'
    with psycopg.connect(database_url) as connection:
        for seq, (kind, known) in enumerate((("accepted", "{}"), ("bounced", data), ("later", "{}"))):
            values = (seq, kind, HOUR + timedelta(minutes=seq), tenant.domain, known)
            connection.execute(
                "INSERT INTO stats VALUES (1, %s, %s, 0, %s, 'msg_1', %s, 'a@b.test', %s)", values
            )
            connection.execute(
                "INSERT INTO rollup_deltas VALUES (%s, %s, 1, '', '', '', %s, NULL, 1)",
                (tenant.domain, HOUR, kind),
            )
    when: dict[str, Any] = {
        "from_date": write_timestamp(HOUR),
        "to_date": write_timestamp(HOUR + timedelta(hours=1)),
    }
    request = stats_v1_pb2.GetStatsReq(domain=tenant.domain, take=10, **when)
    found = await client.admin("StatsApiV1/GetStats", request)
    assert found.total == 3
    assert [(s.type, s.email, s.data.WhichOneof("data")) for s in found.stats] == [
        ("accepted", "a@b.test", "accepted"),
        ("bounced", "a@b.test", "bounced"),
        ("later", "a@b.test", None),
    ]
    bounced = found.stats[1].data.bounced
    assert (bounced.permanent, bounced.code, bounced.msg) == (True, 550, "no such user")
    open_ended = stats_v1_pb2.GetStatsReq(domain=tenant.domain, skip=1, take=1)
    page = await client.admin("StatsApiV1/GetStats", open_ended)
    assert (page.total, [s.type for s in page.stats]) == (3, ["bounced"])
    aggregated = stats_v1_pb2.GetStatsAggregatedReq(domain=tenant.domain, **when)
    second = stats_v2_pb2.GetAggregatedStatsReq(domain=tenant.domain, **when)
    for procedure, wanted in (
        ("StatsApiV1/GetStatsAggregated", aggregated),
        ("StatsApiV2/GetAggregatedStats", second),
    ):
        hours = (await client.admin(procedure, wanted)).stats
        assert [(hour.type, hour.count) for hour in hours] == [("accepted", 1), ("bounced", 1)]
        assert {hour.timestamp.seconds for hour in hours} == {write_timestamp(HOUR).seconds}


@pytest.mark.parametrize("method", METHODS, ids=name_of)
async def test_every_procedure_asks_for_its_credentials(client: Client, method: MethodDescriptor) -> None:
    if method.containing_service.name == "HZService":
        return
    tenant = await client.tenant()
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": basic(tenant.domain, "k_wrong")},
        {"authorization": basic("nobody.test", tenant.key)},
        {"authorization": "Basic x"},
        {"x_kannon_admin_token": "wrong"},
        {"x_kannon_admin_token": ""},
        {"x_kannon_admin_token": tenant.key},
        {"authorization": "the-admin-token"},
    ]
    request = GetMessageClass(method.input_type)()
    answers = {await refusal(client.call(name_of(method), request, **headers)) for headers in wrong}
    assert answers == {(StatusCode.UNAUTHENTICATED, "the credentials are missing or not valid")}


def test_everything_of_the_contract_is_built() -> None:
    assert {name_of(method) for method in METHODS} == BUILT
