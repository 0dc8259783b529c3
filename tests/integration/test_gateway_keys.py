"""A key's life, over gRPC with real PostgreSQL: made, shown, used, expired, revoked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from grpc import StatusCode

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb.admin_pb2 import (
    CreateAPIKeyRequest,
    DeactivateAPIKeyRequest,
    GetAPIKeyRequest,
    ListAPIKeysRequest,
)
from tests.gateway_client import Client, Tenant, refusal

REFUSED = (StatusCode.UNAUTHENTICATED, "the credentials are missing or not valid")


async def listed(tenant: Tenant, **changes: Any) -> Any:
    request = ListAPIKeysRequest(domain=tenant.domain, **changes)
    return await tenant.client.admin("Api/ListAPIKeys", request)


async def make(tenant: Tenant, name: str, expires_at: datetime | None = None) -> Any:
    request = CreateAPIKeyRequest(domain=tenant.domain, name=name)
    if expires_at:
        request.expires_at.CopyFrom(write_timestamp(expires_at))
    return await tenant.client.admin("Api/CreateAPIKey", request)


async def deactivate(tenant: Tenant, key_id: str) -> Any:
    request = DeactivateAPIKeyRequest(domain=tenant.domain, id=key_id)
    return (await tenant.client.admin("Api/DeactivateAPIKey", request)).api_key


async def test_only_its_making_shows_a_key_in_full(tenant: Tenant, database_url: str) -> None:
    made = await make(tenant, "billing")
    shown = [
        made.api_key,
        (await listed(tenant)).api_keys[0],
        (
            await tenant.client.admin(
                "Api/GetAPIKey", GetAPIKeyRequest(domain=tenant.domain, id=made.api_key.id)
            )
        ).api_key,
        await deactivate(tenant, made.api_key.id),
    ]
    for key in shown:
        assert key.key == made.key[:8] + "..."
        assert made.key not in str(key)
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT api_keys::text FROM api_keys").fetchall()
    assert made.key not in str(stored)


async def test_keys_are_listed_newest_first_in_pages(tenant: Tenant) -> None:
    for number in range(4):
        await make(tenant, f"k{number}")
    everything = await listed(tenant)
    assert everything.total == 5
    assert [key.name for key in everything.api_keys] == ["k3", "k2", "k1", "k0", ""]
    page = await listed(tenant, limit=2, offset=1)
    assert (page.total, [key.name for key in page.api_keys]) == (5, ["k2", "k1"])
    assert len((await listed(tenant, limit=2**31 - 1)).api_keys) == 5
    beyond = await listed(tenant, offset=2**31 - 1)
    assert (beyond.total, list(beyond.api_keys)) == (5, [])


async def test_a_revoked_key_is_refused_at_once_and_stays_so(tenant: Tenant) -> None:
    (known,) = (await listed(tenant)).api_keys
    await tenant.send("a@b.test")
    first = await deactivate(tenant, known.id)
    assert not first.is_active
    assert abs(first.deactivated_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert await refusal(tenant.send("a@b.test")) == REFUSED
    assert await deactivate(tenant, known.id) == first
    assert list((await listed(tenant)).api_keys) == [first]
    assert (await listed(tenant, only_active=True)).total == 0


async def test_a_key_is_refused_once_it_has_expired(tenant: Tenant, database_url: str) -> None:
    made = await make(tenant, "short", datetime.now(UTC) + timedelta(days=30))
    lent = Tenant(tenant.client, tenant.domain, made.key)
    await lent.send("a@b.test")
    with psycopg.connect(database_url) as connection:
        past = "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = %s"
        connection.execute(past, (made.api_key.id,))
    assert await refusal(lent.send("a@b.test")) == REFUSED
    await tenant.send("a@b.test")
    assert [key.name for key in (await listed(tenant, only_active=True)).api_keys] == [""]
    expired = (await listed(tenant)).api_keys[0]
    assert (expired.name, expired.is_active, expired.HasField("deactivated_at")) == ("short", False, False)


async def test_keys_of_another_domain_are_out_of_reach(client: Client, tenant: Tenant) -> None:
    other = await client.tenant()
    (known,) = (await listed(tenant)).api_keys
    for procedure, request in (
        ("Api/GetAPIKey", GetAPIKeyRequest(domain=other.domain, id=known.id)),
        ("Api/DeactivateAPIKey", DeactivateAPIKeyRequest(domain=other.domain, id=known.id)),
    ):
        code, text = await refusal(client.admin(procedure, request))
        assert (code, text) == (
            StatusCode.NOT_FOUND,
            f"id: the domain {other.domain} has no key of that name",
        )
    assert known.id not in str(await listed(other))
    await tenant.send("a@b.test")
