"""Who may call what: every procedure with every kind of credentials, over gRPC with real PostgreSQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode, aio

from kannon.adapters.pb import admin_pb2
from kannon.adapters.pb.admin_pb2 import CreateAPIKeyRequest, CreateTemplateReq
from kannon.core.access import Role
from tests.gateway_client import (
    ADMIN_TOKEN,
    METHODS,
    Client,
    Tenant,
    basic,
    method_named,
    name_of,
    refusal,
    rows,
)

# Which credentials let a caller in: D, S, R and O are keys with the role default, sender, reader and owner,
# A is the admin token; `*` is everyone. One letter that is missing here is a call that must be refused.
ALLOWED: Mapping[str, str] = {
    "Mailer/SendHTML": "DS-OA",
    "Mailer/SendTemplate": "DS-OA",
    "Mailer/RenderTemplate": "D-ROA",
    "Mailer/GetBatch": "DSROA",
    "Mailer/CancelBatch": "DS-OA",
    "Mailer/RescheduleBatch": "DS-OA",
    "Api/CreateDomain": "----A",
    "Api/GetDomains": "---OA",
    "Api/GetDomain": "---OA",
    "Api/SetTrackingPolicy": "---OA",
    "Api/GetLimits": "---OA",
    "Api/SetLimits": "----A",
    "Api/CreateTemplate": "---OA",
    "Api/UpdateTemplate": "---OA",
    "Api/DeleteTemplate": "---OA",
    "Api/GetTemplate": "D-ROA",
    "Api/GetTemplates": "D-ROA",
    "Api/CreateAPIKey": "---OA",
    "Api/ListAPIKeys": "---OA",
    "Api/GetAPIKey": "---OA",
    "Api/DeactivateAPIKey": "---OA",
    "Api/ListDeliveries": "D-ROA",
    "Api/ListReports": "---OA",
    "Api/GetReport": "---OA",
    "Api/ListSuppressions": "---OA",
    "Api/GetSuppression": "---OA",
    "Api/AddSuppressions": "---OA",
    "Api/RemoveSuppression": "---OA",
    "Api/ListAuditRecords": "---OA",
    "Api/CreateWebhook": "---OA",
    "Api/ListWebhooks": "---OA",
    "Api/GetWebhook": "---OA",
    "Api/DeleteWebhook": "---OA",
    "Api/TestWebhook": "---OA",
    "Api/RotateWebhookSecret": "---OA",
    "Api/ListWebhookDeliveries": "---OA",
    "Api/RedeliverWebhook": "---OA",
    "Api/ExportRecipient": "---OA",
    "Api/EraseRecipient": "---OA",
    "Api/ListDeadLetters": "----A",
    "Api/GetDeadLetter": "----A",
    "Api/RetryDeadLetters": "----A",
    "Api/DropDeadLetters": "----A",
    "Api/Diagnose": "----A",
    "StatsApiV1/GetStats": "D-ROA",
    "StatsApiV1/GetStatsAggregated": "D-ROA",
    "StatsApiV2/GetAggregatedStats": "D-ROA",
    "StatsApiV3/GetCounts": "D-ROA",
    "StatsApiV3/GetSeries": "D-ROA",
    "StatsApiV3/GetLatencies": "D-ROA",
    "StatsApiV3/GetTimeline": "D-ROA",
    "StatsApiV3/ListOutcomes": "D-ROA",
    "StatsApiV3/ListBatches": "D-ROA",
    "StatsApiV3/ExportOutcomes": "D-ROA",
    "StatsApiV3/StreamOutcomes": "D-ROA",
    "HZService/HZ": "*",
}
LETTERS = {"D": "default", "S": "sender", "R": "reader", "O": "owner", "A": "admin"}
UNKNOWN = (StatusCode.UNAUTHENTICATED, "the credentials are missing or not valid")
NOT_LET_IN = (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)

# Fields of requests that name something of a Domain; a field of another name ends in none of `NAMING`.
NAMING = ("domain", "id", "number", "sequence", "sequences")
KNOWN = {"domain", "template_id", "message_id", "id", "number", "key_id", "client", "webhook_id"}

PARTS = {"filter"}
"""Fields that hold a message with a `domain`, to which `confinement` looks as well."""


@dataclass
class Estate:
    """A Domain with something of everything in it, and with a key of each kind."""

    tenant: Tenant
    template_id: str
    message_id: str
    key_id: str
    webhook_id: str
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def domain(self) -> str:
        return self.tenant.domain


async def made_key(client: Client, domain: str, role: str) -> Any:
    return await client.admin("Api/CreateAPIKey", CreateAPIKeyRequest(domain=domain, role=role))


def end_key(database_url: str, key_id: str, column: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"UPDATE api_keys SET {column} = now() WHERE id = %s", (key_id,))


async def estate_of(client: Client, database_url: str) -> Estate:
    tenant = await client.tenant()
    domain = tenant.domain
    template = CreateTemplateReq(domain=domain, html="<p>Hello</p>")
    template_id = (await client.admin("Api/CreateTemplate", template)).template.template_id
    suppression = admin_pb2.NewSuppression(address="s@b.test")
    added = admin_pb2.AddSuppressionsReq(domain=domain, suppressions=[suppression])
    await client.admin("Api/AddSuppressions", added)
    spare = await made_key(client, domain, "reader")
    hook = admin_pb2.CreateWebhookReq(domain=domain, url="https://hooks.example.com/")
    webhook_id = (await client.admin("Api/CreateWebhook", hook)).webhook.webhook_id
    message_id = (await tenant.send("a@b.test")).message_id
    estate = Estate(tenant, template_id, message_id, spare.api_key.id, webhook_id)
    keys = {role: await made_key(client, domain, role) for role in Role}
    estate.credentials = {
        "none": {},
        "wrong": {"authorization": basic(domain, "k_" + "x" * 64)},
        "admin": {"x_kannon_admin_token": ADMIN_TOKEN, "x_kannon_domain": domain},
        "wrong token": {"x_kannon_admin_token": ADMIN_TOKEN + "x", "x_kannon_domain": domain},
    }
    for role, made in keys.items():
        estate.credentials[role] = {"authorization": basic(domain, made.key)}
    for kind, column in (("revoked", "deactivated_at"), ("expired", "expires_at")):
        made = await made_key(client, domain, "owner")
        end_key(database_url, made.api_key.id, column)
        estate.credentials[kind] = {"authorization": basic(domain, made.key)}
    return estate


@pytest.fixture(scope="module")
def made() -> dict[str, Estate]:
    """Estates that tests share, which take a while to be made."""
    return {}


@pytest.fixture
async def estate(client: Client, database_url: str, made: dict[str, Estate]) -> Estate:
    return await shared(made, "estate", client, database_url)


@pytest.fixture
async def foreign(client: Client, database_url: str, made: dict[str, Estate]) -> Estate:
    return await shared(made, "foreign", client, database_url)


async def shared(made: dict[str, Estate], name: str, client: Client, database_url: str) -> Estate:
    if name not in made:
        made[name] = await estate_of(client, database_url)
    made[name].tenant.client = client
    return made[name]


def asked_for(procedure: str, of: Estate) -> Message:
    """A request about what an estate has."""
    request: Any = GetMessageClass(method_named(procedure).input_type)()
    if procedure.startswith("Mailer/Send"):
        request.MergeFrom(type(request).FromString(of.tenant.mail("a@b.test").SerializeToString()))
    if procedure == "Mailer/RescheduleBatch":
        request.scheduled_time.GetCurrentTime()
    values = {
        "domain": of.domain,
        "template_id": of.template_id,
        "message_id": of.message_id,
        "id": of.key_id,
        "webhook_id": of.webhook_id,
        "address": "s@b.test",
        "email": "a@b.test",
    }
    for name, value in values.items():
        if name in request.DESCRIPTOR.fields_by_name:
            setattr(request, name, value)
        if "filter" in request.DESCRIPTOR.fields_by_name and name in ("domain", "message_id"):
            setattr(request.filter, name, value)
    asked: Message = request
    return asked


async def called(client: Client, procedure: str, request: Message, credentials: dict[str, str]) -> None:
    method = method_named(procedure)
    if not method.server_streaming:
        await client.call(procedure, request, **credentials)
        return
    call = client.channel.unary_stream(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    pairs = ((name.replace("_", "-"), value) for name, value in credentials.items())
    async for _ in call(request, metadata=aio.Metadata(*pairs), timeout=30):
        pass


async def outcome(client: Client, procedure: str, request: Message, credentials: dict[str, str]) -> Any:
    try:
        await called(client, procedure, request, credentials)
    except aio.AioRpcError as error:
        return error.code(), error.details()
    return StatusCode.OK, ""


def test_the_matrix_has_every_procedure() -> None:
    assert set(ALLOWED) == {name_of(method) for method in METHODS}


@pytest.mark.parametrize("procedure", ALLOWED)
async def test_credentials_that_are_none_are_refused_with_one_text(
    client: Client, estate: Estate, foreign: Estate, procedure: str
) -> None:
    if ALLOWED[procedure] == "*":
        pytest.skip("open to everyone")
    anothers = foreign.credentials["owner"]["authorization"]
    credentials = {
        kind: estate.credentials[kind] for kind in ("none", "wrong", "wrong token", "revoked", "expired")
    }
    credentials["a key of another domain under this one's name"] = {
        "authorization": basic(estate.domain, foreign.tenant.key)
    }
    credentials["two at once"] = {"authorization": f"{anothers}, {anothers}"}
    for kind, given_ in credentials.items():
        found = await outcome(client, procedure, asked_for(procedure, estate), given_)
        assert found == UNKNOWN, kind


@pytest.mark.parametrize("procedure", ALLOWED)
async def test_each_role_may_what_the_matrix_says(client: Client, database_url: str, procedure: str) -> None:
    allowed, estate = ALLOWED[procedure], await estate_of(client, database_url)
    for letter, kind in LETTERS.items():
        request, given_ = asked_for(procedure, estate), estate.credentials[kind]
        code, text = await outcome(client, procedure, request, given_)
        if letter in allowed or allowed == "*":
            assert code not in NOT_LET_IN, (kind, text)
        else:
            assert (code, text) == (
                StatusCode.PERMISSION_DENIED,
                f"a key with the role {kind} may not call this",
            )


@pytest.mark.parametrize("procedure", [name for name, letters in ALLOWED.items() if "O" in letters])
async def test_what_is_anothers_is_as_if_it_did_not_exist(
    client: Client, estate: Estate, foreign: Estate, procedure: str
) -> None:
    """The answer for what another has is that for what nobody has, but for the name that was asked for."""
    owner = estate.credentials["owner"]
    request = asked_for(procedure, foreign)
    found = await outcome(client, procedure, request, owner)
    if procedure == "Mailer/SendHTML":
        assert found[0] is StatusCode.PERMISSION_DENIED
    elif not {"domain", "template_id", "message_id", "filter"} & set(request.DESCRIPTOR.fields_by_name):
        assert procedure in ("Api/GetDomains", "Api/GetReport")
    else:
        nobodys = Estate(
            Tenant(client, "nobody.test", ""), "x@nobody.test", "msg_x@nobody.test", "key_x", "wh_x"
        )
        code, text = await outcome(client, procedure, asked_for(procedure, nobodys), owner)
        assert code in (StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED)
        assert found == (code, text.replace("nobody.test", foreign.domain))


async def test_a_foreign_key_of_ones_own_domains_name_is_not_found(
    client: Client, estate: Estate, foreign: Estate
) -> None:
    for procedure in ("Api/GetAPIKey", "Api/DeactivateAPIKey"):
        request: Any = asked_for(procedure, foreign)
        request.domain = estate.domain
        code, _ = await outcome(client, procedure, request, estate.credentials["owner"])
        assert code is StatusCode.NOT_FOUND
    assert await client.call(
        "Api/GetAPIKey", asked_for("Api/GetAPIKey", foreign), **foreign.credentials["owner"]
    )


async def test_a_foreign_webhook_of_ones_own_domains_name_is_not_found(
    client: Client, estate: Estate, foreign: Estate
) -> None:
    procedures = [name for name in ALLOWED if "webhook_id" in method_named(name).input_type.fields_by_name]
    assert len(procedures) == 6
    for procedure in procedures:
        request: Any = asked_for(procedure, foreign)
        request.domain = estate.domain
        code, _ = await outcome(client, procedure, request, estate.credentials["owner"])
        assert code is StatusCode.NOT_FOUND


async def test_nothing_of_another_domain_is_changed(
    client: Client, estate: Estate, foreign: Estate, database_url: str
) -> None:
    tables = (
        "domains",
        "api_keys",
        "templates",
        "bodies",
        "suppressions",
        "messages",
        "deliveries",
        "webhooks",
    )

    def everything() -> list[Any]:
        found = []
        for table in tables:
            column = {"domains": "name", "deliveries": "email"}.get(table, "domain")
            text = f"SELECT * FROM {table} WHERE {column} = %s"
            found.append(rows(database_url, text, foreign.domain))
        return found

    before = everything()
    for procedure in ALLOWED:
        for kind in (*Role, "none", "wrong", "revoked"):
            await outcome(client, procedure, asked_for(procedure, foreign), estate.credentials[kind])
    assert everything() == before


def test_what_names_something_is_looked_after() -> None:
    """A field of a later procedure that names something of a Domain must be kept to the key's Domain, by
    `confinement` or by its procedure, and then stand in `KNOWN`."""
    for procedure, letters in ALLOWED.items():
        if "O" not in letters:
            continue
        fields = method_named(procedure).input_type.fields
        naming = {each.name for each in fields if each.name.split("_")[-1] in NAMING}
        assert naming <= KNOWN, procedure
        for each in fields:
            if each.message_type and each.name not in PARTS:
                inner = set(each.message_type.fields_by_name)
                assert not {"domain", "template_id", "message_id"} & inner, procedure


async def test_a_key_sees_its_own_domain_in_lists(client: Client, estate: Estate, foreign: Estate) -> None:
    owner = estate.credentials["owner"]
    found = await client.call("Api/GetDomains", admin_pb2.GetDomainsReq(), **owner)
    assert [one.domain for one in found.domains] == [estate.domain]
    keys = await client.call("Api/ListAPIKeys", admin_pb2.ListAPIKeysRequest(), **owner)
    assert {one.domain for one in keys.api_keys} == {estate.domain}
    everything = await client.admin("Api/GetDomains", admin_pb2.GetDomainsReq())
    assert {estate.domain, foreign.domain} <= {one.domain for one in everything.domains}


async def test_reports_of_another_domain_are_not_shown(
    client: Client, estate: Estate, foreign: Estate, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        (number,) = connection.execute(
            "INSERT INTO reports (identity, at, kind, reason, domain, recipients, deliveries, told, sender, "
            "client, size, head) VALUES (%s, now(), 'bounce', '', %s, '[]', '[]', '[]', '', '', 0, '') "
            "RETURNING number",
            (foreign.domain, foreign.domain),
        ).fetchone()  # type: ignore[misc]
    request = admin_pb2.GetReportReq(number=number)
    for whose, code in ((estate, StatusCode.NOT_FOUND), (foreign, StatusCode.OK)):
        found, _ = await outcome(client, "Api/GetReport", request, whose.credentials["owner"])
        assert found is code
        page = await client.call("Api/ListReports", admin_pb2.ListReportsReq(), **whose.credentials["owner"])
        assert len(page.reports) == (code is StatusCode.OK)


async def test_a_key_is_made_with_a_role_and_shows_it(client: Client, estate: Estate) -> None:
    owner = estate.credentials["owner"]
    for role in Role:
        made = await client.call("Api/CreateAPIKey", CreateAPIKeyRequest(role=role), **owner)
        assert (made.api_key.role, made.api_key.domain) == (role, estate.domain)
        shown = await client.call("Api/GetAPIKey", admin_pb2.GetAPIKeyRequest(id=made.api_key.id), **owner)
        assert shown.api_key.role == role
    plain = await client.call("Api/CreateAPIKey", CreateAPIKeyRequest(), **owner)
    assert plain.api_key.role == "default"
    found = await refusal(client.call("Api/CreateAPIKey", CreateAPIKeyRequest(role="root"), **owner))
    assert found == (
        StatusCode.INVALID_ARGUMENT,
        "role: must be one of default, sender, reader, owner",
    )


async def test_keys_that_there_were_have_the_default_role(
    client: Client, estate: Estate, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO api_keys (id, domain, name, key_prefix, key_hash) VALUES (%s, %s, '', '', %s)",
            (f"key_old_{estate.domain}", estate.domain, estate.domain.encode()),
        )
    request = admin_pb2.GetAPIKeyRequest(domain=estate.domain, id=f"key_old_{estate.domain}")
    assert (await client.admin("Api/GetAPIKey", request)).api_key.role == "default"


async def test_the_holder_of_the_admin_token_sends_for_a_domain_that_is_named(
    client: Client, estate: Estate
) -> None:
    mail, token = estate.tenant.mail("a@b.test"), {"x_kannon_admin_token": ADMIN_TOKEN}
    sent = await client.call("Mailer/SendHTML", mail, x_kannon_domain=estate.domain, **token)
    assert sent.message_id.endswith(f"@{estate.domain}")
    assert await outcome(client, "Mailer/SendHTML", mail, token) == (
        StatusCode.INVALID_ARGUMENT,
        "x-kannon-domain: is needed with the admin token",
    )
    named = token | {"x_kannon_domain": "nobody.test"}
    assert (await outcome(client, "Mailer/SendHTML", mail, named))[0] is StatusCode.NOT_FOUND


async def test_where_both_are_given_the_credentials_that_a_service_asks_for_count(
    client: Client, estate: Estate
) -> None:
    both = estate.credentials["sender"] | {"x_kannon_admin_token": ADMIN_TOKEN}
    assert (await client.call("Mailer/SendHTML", estate.tenant.mail("a@b.test"), **both)).accepted_count == 1
    assert await client.call("Api/GetDomains", admin_pb2.GetDomainsReq(), **both)
    wrong = estate.credentials["owner"] | {"x_kannon_admin_token": "x"}
    assert await outcome(client, "Api/GetDomains", admin_pb2.GetDomainsReq(), wrong) == UNKNOWN


async def test_an_attribution_that_is_too_long_is_refused(client: Client, estate: Estate) -> None:
    request = asked_for("StatsApiV1/GetStats", estate)
    for length, code in ((256, StatusCode.OK), (257, StatusCode.INVALID_ARGUMENT)):
        given_ = estate.credentials["reader"] | {"x_kannon_attribution": "x" * length}
        assert (await outcome(client, "StatsApiV1/GetStats", request, given_))[0] is code
