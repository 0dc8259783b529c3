"""Webhooks by the API: what is taken, what is refused, and what is shown of secrets: once."""

from typing import Any

import psycopg
import pytest
from grpc import StatusCode

from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.webhooks import MAX_PER_DOMAIN, TYPES
from tests.gateway_client import Client, Tenant, refusal, rows

URL = "https://hooks.example.com/kannon"


async def create(tenant: Tenant, **changes: Any) -> Any:
    fields: dict[str, Any] = {"domain": tenant.domain, "url": URL}
    return await tenant.client.admin("Api/CreateWebhook", pb.CreateWebhookReq(**(fields | changes)))


async def test_a_webhook_is_made_shown_rotated_and_deleted(tenant: Tenant, database_url: str) -> None:
    client, types = tenant.client, [TYPES[4], TYPES[3], TYPES[4]]
    made = await create(tenant, types=types, description="For the shop.")
    assert made.secret.startswith("whsec_")
    assert (made.webhook.url, list(made.webhook.types)) == (URL, sorted(set(types)))
    assert (made.webhook.state, made.webhook.description) == ("active", "For the shop.")
    place = {"domain": tenant.domain, "webhook_id": made.webhook.webhook_id}
    assert (await client.admin("Api/GetWebhook", pb.GetWebhookReq(**place))).webhook == made.webhook
    listed = await client.admin("Api/ListWebhooks", pb.ListWebhooksReq(domain=tenant.domain))
    assert list(listed.webhooks) == [made.webhook]
    rotated = await client.admin("Api/RotateWebhookSecret", pb.RotateWebhookSecretReq(**place))
    assert rotated.secret != made.secret
    life = rotated.webhook.old_secret_until.ToDatetime() - made.webhook.created_at.ToDatetime()
    assert 23.9 < life.total_seconds() / 3600 < 24.1
    at_once = await client.admin("Api/RotateWebhookSecret", pb.RotateWebhookSecretReq(**place, at_once=True))
    assert not at_once.webhook.HasField("old_secret_until")
    [row] = rows(
        database_url, "SELECT webhooks::text AS shown FROM webhooks WHERE id = %s", place["webhook_id"]
    )
    assert not any(one.secret in row["shown"] for one in (made, rotated, at_once))
    await client.admin("Api/DeleteWebhook", pb.DeleteWebhookReq(**place))
    for procedure in ("GetWebhook", "DeleteWebhook", "TestWebhook", "RotateWebhookSecret"):
        request = getattr(pb, f"{procedure}Req")(**place)
        code, text = await refusal(client.admin(f"Api/{procedure}", request))
        assert (code, text) == (
            StatusCode.NOT_FOUND,
            f"webhook_id: the domain {tenant.domain} has no such webhook",
        )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "url"),
        ({"url": "https://user:pw@hooks.example.com/"}, "url"),
        ({"types": ["bounced"]}, "types"),
        ({"types": [TYPES[0], "email.kannon.webhook.test.v1"]}, "types"),
        ({"description": "x" * 501}, "description"),
        ({"description": "\0"}, "description"),
    ],
)
async def test_what_is_wrong_with_a_webhook_is_told(tenant: Tenant, changes: Any, field: str) -> None:
    code, text = await refusal(create(tenant, **changes))
    assert code is StatusCode.INVALID_ARGUMENT
    assert text.startswith(f"{field}: ")


async def test_a_domain_has_so_many_and_no_more(tenant: Tenant) -> None:
    for _ in range(MAX_PER_DOMAIN):
        last = await create(tenant)
    code, text = await refusal(create(tenant))
    assert code is StatusCode.ALREADY_EXISTS
    assert str(MAX_PER_DOMAIN) in text
    place = {"domain": tenant.domain, "webhook_id": last.webhook.webhook_id}
    await tenant.client.admin("Api/DeleteWebhook", pb.DeleteWebhookReq(**place))
    await create(tenant)


async def test_the_log_is_listed_page_by_page_and_redelivered_from(tenant: Tenant, database_url: str) -> None:
    client, made = tenant.client, (await create(tenant)).webhook
    place = {"domain": tenant.domain, "webhook_id": made.webhook_id}
    tests = [await client.admin("Api/TestWebhook", pb.TestWebhookReq(**place)) for _ in range(5)]
    numbers = [one.delivery.number for one in tests]
    assert {one.delivery.state for one in tests} == {"owed"}

    async def page(**wanted: Any) -> Any:
        return await client.admin("Api/ListWebhookDeliveries", pb.ListWebhookDeliveriesReq(**place, **wanted))

    first = await page(take=3)
    second = await page(take=3, before=first.next)
    assert [one.number for one in (*first.deliveries, *second.deliveries)] == numbers[::-1]
    assert second.next == 0
    ended = "UPDATE webhook_deliveries SET state = %s, due_at = NULL WHERE number = ANY(%s)"
    with psycopg.connect(database_url) as connection:
        connection.execute(ended, ("failed", numbers[:2]))
        connection.execute(ended, ("delivered", numbers[2:4]))
    assert [one.number for one in (await page(state="failed")).deliveries] == numbers[1::-1]

    async def redeliver(**wanted: Any) -> int:
        request = pb.RedeliverWebhookReq(**place, **wanted)
        return int((await client.admin("Api/RedeliverWebhook", request)).owed)

    assert await redeliver(number=numbers[2]) == 1
    assert await redeliver(failed_since=made.created_at) == 2
    assert [one.number for one in (await page(state="owed")).deliveries] == [
        *(numbers[4], numbers[2], numbers[1], numbers[0])
    ]
    for wanted, code in (
        ({}, StatusCode.INVALID_ARGUMENT),
        ({"number": 1, "failed_since": made.created_at}, StatusCode.INVALID_ARGUMENT),
        ({"number": 2**63}, StatusCode.NOT_FOUND),
        ({"number": numbers[4] + 10**6}, StatusCode.NOT_FOUND),
    ):
        assert (await refusal(redeliver(**wanted)))[0] is code
    assert (await refusal(page(state="lost")))[0] is StatusCode.INVALID_ARGUMENT
    assert (await refusal(page(take=1001)))[0] is StatusCode.INVALID_ARGUMENT


async def test_another_domains_log_number_is_not_found(client: Client, tenant: Tenant) -> None:
    other = await client.tenant()
    theirs = (await create(other)).webhook.webhook_id
    test = pb.TestWebhookReq(domain=other.domain, webhook_id=theirs)
    number = (await client.admin("Api/TestWebhook", test)).delivery.number
    ours = (await create(tenant)).webhook.webhook_id
    wanted = pb.RedeliverWebhookReq(domain=tenant.domain, webhook_id=ours, number=number)
    assert (await refusal(client.admin("Api/RedeliverWebhook", wanted)))[0] is StatusCode.NOT_FOUND
