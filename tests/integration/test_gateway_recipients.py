"""All that is kept of one person, over gRPC and by command: shown, erased, and never sent to again."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from grpc import StatusCode
from psycopg.types.json import Jsonb

from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.erasure import ERASED, hashed
from tests.gateway_client import ADMIN_TOKEN, Tenant, refusal, rows

ADA, BEA = "ada@example.org", "bea@example.org"
NOW = datetime.now(UTC)
REPLY = {"code": 250, "enhanced": "2.0.0", "msg": f"queued for {ADA}", "exchanger": "mx.example.org"}


def change(url: str, text: str, *values: object) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(text, values)


async def send(tenant: Tenant, url: str, *recipients: str) -> int:
    """The number of a Batch to them."""
    sent = await tenant.send(*recipients)
    [row] = rows(url, "SELECT number FROM messages WHERE message_id = %s", sent.message_id)
    return int(row["number"])


def end(url: str, batch: int, seq: int, email: str, tenant: Tenant) -> None:
    """The mail was delivered."""
    change(url, "UPDATE deliveries SET status = 'delivered' WHERE (batch, seq) = (%s, %s)", batch, seq)
    change(
        url,
        "INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email, data)"
        " VALUES (%s, %s, 'delivered', 1, %s, 'msg', %s, %s, %s)",
        *(batch, seq, NOW, tenant.domain, email, Jsonb(REPLY)),
    )


async def export(tenant: Tenant, email: str) -> list[dict[str, Any]]:
    call = tenant.client.channel.unary_stream(
        "/pkg.kannon.admin.apiv1.Api/ExportRecipient",
        request_serializer=pb.ExportRecipientReq.SerializeToString,
        response_deserializer=pb.ExportRecipientRes.FromString,
    )
    request = pb.ExportRecipientReq(domain=tenant.domain, email=email)
    pieces = [piece.data async for piece in call(request, metadata=(("x-kannon-admin-token", ADMIN_TOKEN),))]
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


async def erase(tenant: Tenant, email: str) -> Any:
    return await tenant.client.admin(
        "Api/EraseRecipient", pb.EraseRecipientReq(domain=tenant.domain, email=email)
    )


async def suppress(tenant: Tenant, email: str) -> None:
    news = [pb.NewSuppression(address=email, reason="complaint", detail="on the phone")]
    await tenant.client.admin(
        "Api/AddSuppressions", pb.AddSuppressionsReq(domain=tenant.domain, suppressions=news)
    )


def of(records: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == kind]


async def test_what_is_kept_of_a_person_is_shown_whole_and_nobody_elses(
    tenant: Tenant, database_url: str
) -> None:
    batch = await send(tenant, database_url, BEA, "Ada@EXAMPLE.org")
    end(database_url, batch, 1, ADA, tenant)
    await suppress(tenant, ADA)
    found = await export(tenant, ADA)
    [delivery] = of(found, "delivery")
    assert (delivery["seq"], delivery["fields"]) == (1, {"name": "you"})
    assert [one["data"]["msg"] for one in of(found, "outcome")] == [REPLY["msg"]]
    assert [one["detail"] for one in of(found, "suppression")] == ["on the phone"]
    assert BEA not in json.dumps(found)


async def test_an_erased_person_stands_nowhere_and_is_never_sent_to_again(
    tenant: Tenant, database_url: str
) -> None:
    batch = await send(tenant, database_url, ADA, BEA)
    for seq, email in enumerate((ADA, BEA)):
        end(database_url, batch, seq, email, tenant)
    await send(tenant, database_url, ADA)
    await suppress(tenant, ADA)
    erased = await erase(tenant, "ADA@example.org")
    assert (erased.deliveries, erased.cancelled, erased.in_hand) == (2, 1, 0)
    assert (erased.outcomes, erased.suppressions) == (1, 1)
    [kept, told] = [
        rows(database_url, f"SELECT * FROM {table} WHERE batch = %s AND seq = 0", batch)[0]
        for table in ("deliveries", "stats")
    ]
    assert (kept["email"], kept["fields"], kept["status"]) == (ERASED, None, "delivered")
    assert (told["email"], told["data"]) == (
        ERASED,
        {"code": 250, "enhanced": "2.0.0", "exchanger": "mx.example.org"},
    )
    found = await export(tenant, ADA)
    [record] = found
    assert (record["kind"], record["address"]) == ("suppression", hashed(tenant.domain, ADA))
    assert (record["detail"], record["reason"]) == ("", "complaint")
    assert of(await export(tenant, BEA), "outcome")[0]["data"] == REPLY
    refused = await tenant.send("Ada@Example.org", BEA)
    assert [(one.email, one.reason) for one in refused.rejected_recipients] == [
        ("Ada@Example.org", "suppressed")
    ]
    again = await erase(tenant, ADA)
    assert (again.deliveries, again.suppressions) == (0, 0)


async def test_what_webhooks_were_told_of_a_person_is_shown_and_goes(
    tenant: Tenant, database_url: str
) -> None:
    hook = pb.CreateWebhookReq(domain=tenant.domain, url="https://hooks.example.com/")
    name = (await tenant.client.admin("Api/CreateWebhook", hook)).webhook.webhook_id
    for event, email in (("a", ADA), ("b", "Ada@EXAMPLE.org"), ("c", BEA)):
        change(
            database_url,
            "INSERT INTO webhook_deliveries"
            " (webhook, event_id, type, recipient, body, created_at, due_at, give_up_at)"
            " VALUES (%s, %s, 't', %s, 'told', now(), now(), now())",
            *(name, event, email),
        )
    shown = of(await export(tenant, ADA), "webhook_delivery")
    assert [(one["event_id"], one["body"]) for one in shown] == [("a", "told"), ("b", "told")]
    await erase(tenant, ADA)
    left = rows(database_url, "SELECT event_id FROM webhook_deliveries WHERE webhook = %s", name)
    assert left == [{"event_id": "c"}]


async def test_who_was_erased_can_be_let_in_again(tenant: Tenant) -> None:
    await suppress(tenant, ADA)
    await erase(tenant, ADA)
    request = pb.RemoveSuppressionReq(domain=tenant.domain, address=ADA)
    assert (await tenant.client.admin("Api/RemoveSuppression", request)).suppression.reason == "complaint"
    assert (await tenant.send(ADA)).accepted_count == 1


async def test_mail_on_its_way_stays_and_is_told_of(tenant: Tenant, database_url: str) -> None:
    batch = await send(tenant, database_url, ADA)
    change(
        database_url,
        "UPDATE deliveries SET status = 'sending', first_emitted_at = now() WHERE batch = %s",
        batch,
    )
    erased = await erase(tenant, ADA)
    assert (erased.deliveries, erased.in_hand) == (0, 1)
    end(database_url, batch, 0, ADA, tenant)
    assert (await erase(tenant, ADA)).deliveries == 1


async def test_reports_that_name_a_person_go_too(tenant: Tenant, database_url: str) -> None:
    batch = await send(tenant, database_url, ADA)
    end(database_url, batch, 0, ADA, tenant)
    for number, (told, about) in enumerate(
        [
            ([{"address": "ADA@example.org"}], []),
            ([{"address": "somebody@example.org"}], [{"batch": batch, "seq": 0}]),
            ([{"address": BEA}], []),
        ]
    ):
        change(
            database_url,
            "INSERT INTO reports (identity, at, kind, reason, domain, recipients, deliveries, told, sender,"
            " client, size, head) VALUES (%s, %s, 'bounce', '', %s, '[]', %s, %s, '', '', 1, '')",
            *(f"{tenant.domain}{number}", NOW, tenant.domain, Jsonb(about), Jsonb(told)),
        )
    assert (await erase(tenant, ADA)).reports == 2
    left = rows(database_url, "SELECT told FROM reports WHERE domain = %s", tenant.domain)
    assert [row["told"][0]["address"] for row in left] == [BEA]


async def test_another_domains_mail_is_left_alone(tenant: Tenant, database_url: str) -> None:
    other = await tenant.client.tenant()
    batch = await send(other, database_url, ADA)
    assert (await erase(tenant, ADA)).deliveries == 0
    assert rows(database_url, "SELECT email FROM deliveries WHERE batch = %s", batch)[0]["email"] == ADA


@pytest.mark.parametrize(
    ("domain", "email", "code", "text"),
    [
        (None, "nobody", StatusCode.INVALID_ARGUMENT, "email: "),
        ("nowhere.test", ADA, StatusCode.NOT_FOUND, "there is no domain nowhere.test"),
        ("no domain", ADA, StatusCode.INVALID_ARGUMENT, "domain: "),
    ],
)
async def test_whom_it_is_about_is_checked(
    domain: str | None, email: str, code: StatusCode, text: str, tenant: Tenant
) -> None:
    request = pb.EraseRecipientReq(domain=tenant.domain if domain is None else domain, email=email)
    found, said = await refusal(tenant.client.admin("Api/EraseRecipient", request))
    assert found is code
    assert said.startswith(text)
