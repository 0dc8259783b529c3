"""Sending mail over gRPC, with real PostgreSQL and NATS."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from grpc import StatusCode, aio

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2
from kannon.adapters.pb.mailer_pb2 import Attachment, SendHTMLReq
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from tests.conftest import Eventually
from tests.gateway_client import (
    MAX_MESSAGE,
    Client,
    Tenant,
    basic,
    refusal,
    rows,
)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_mail_is_stored_and_announced(
    tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    before = datetime.now(UTC)
    answer = await tenant.send("ada@example.org", "nobody", "ada@EXAMPLE.org", "bob@example.org")
    assert (answer.accepted_count, answer.rejected_count) == (2, 2)
    assert [(r.email, r.reason) for r in answer.rejected_recipients] == [
        ("nobody", "invalid_email"),
        ("ada@EXAMPLE.org", "duplicate_recipient"),
    ]
    assert re.fullmatch(rf"msg_\w+@{re.escape(tenant.domain)}", answer.message_id)
    assert re.fullmatch(rf"\w+@{re.escape(tenant.domain)}", answer.template_id)
    assert before <= answer.scheduled_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC)

    text = "SELECT * FROM messages JOIN deliveries ON batch = number WHERE message_id = %s ORDER BY seq"
    stored = rows(database_url, text, answer.message_id)
    assert [(row["seq"], row["email"]) for row in stored] == [(0, "ada@example.org"), (1, "bob@example.org")]
    assert {row["template_id"] for row in stored} == {answer.template_id}
    assert {row["expires_at"] - row["scheduled_at"] for row in stored} == {timedelta(days=1)}
    assert await eventually(lambda: rows(database_url, text, answer.message_id)[0]["announced_seq"] == 2)


async def test_all_refused_and_none_at_all(tenant: Tenant, database_url: str) -> None:
    none = await tenant.send()
    assert (none.accepted_count, none.rejected_count) == (0, 0)
    refused = await tenant.send("x", "y")
    assert (refused.accepted_count, refused.rejected_count) == (0, 2)
    for answer in (none, refused):
        (row,) = rows(database_url, "SELECT * FROM messages WHERE message_id = %s", answer.message_id)
        assert row["recipients"] == 0


async def test_a_mail_for_later(tenant: Tenant, database_url: str) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    answer = await tenant.send("a@b.test", scheduled_time=write_timestamp(at))
    assert answer.scheduled_time == write_timestamp(at)
    (row,) = rows(
        database_url,
        "SELECT due_at FROM deliveries JOIN messages ON batch = number WHERE message_id = %s",
        answer.message_id,
    )
    assert row["due_at"] == at


async def test_the_callers_trace_goes_with_the_mail(
    client: Client, tenant: Tenant, database_url: str
) -> None:
    text = "SELECT traceparent FROM messages WHERE message_id = %s"
    for given, kept in ((TRACE, True), ("nonsense", False)):
        answer = await client.call(
            "Mailer/SendHTML",
            tenant.mail("a@b.test"),
            authorization=basic(tenant.domain, tenant.key),
            traceparent=given,
        )
        (row,) = rows(database_url, text, answer.message_id)
        assert (row["traceparent"] == given) is kept
        assert re.fullmatch(r"00-\w{32}-\w{16}-01", row["traceparent"])


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"html": ""}, StatusCode.INVALID_ARGUMENT, "html: "),
        ({"subject": "a\r\nBcc: b"}, StatusCode.INVALID_ARGUMENT, "subject: "),
        ({"sender": Sender(email="no")}, StatusCode.INVALID_ARGUMENT, "sender.email: "),
        ({"sender": Sender(email="a@example.com")}, StatusCode.PERMISSION_DENIED, "sender.email: "),
        ({"sender": Sender(email="a@test.test")}, StatusCode.PERMISSION_DENIED, "sender.email: "),
        (
            {"attachments": [Attachment(filename="x")]},
            StatusCode.FAILED_PRECONDITION,
            "attachments: no store is set up",
        ),
        (
            {"recipients": [Recipient(email="a@b.test", fields={"name": "\n"})]},
            StatusCode.INVALID_ARGUMENT,
            "recipients[0].fields.name: ",
        ),
    ],
)
async def test_what_senders_ask_wrongly(
    tenant: Tenant, changes: dict[str, Any], code: StatusCode, text: str
) -> None:
    refused, said = await refusal(tenant.send("a@b.test", **changes))
    assert refused is code
    assert said.startswith(text)


async def test_the_parent_of_the_keys_domain_may_send(client: Client, tenant: Tenant) -> None:
    parent = tenant.domain.partition(".")[2]
    sender = Sender(email=f"a@{parent}")
    assert (await tenant.send("a@b.test", sender=sender)).accepted_count == 1
    await client.admin("Api/CreateDomain", admin_pb2.CreateDomainRequest(domain=parent))
    code, _ = await refusal(tenant.send("a@b.test", sender=sender))
    assert code is StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("column", ["deactivated_at", "expires_at"])
async def test_an_ended_key_is_refused_at_once(tenant: Tenant, database_url: str, column: str) -> None:
    assert (await tenant.send("a@b.test")).accepted_count == 1
    with psycopg.connect(database_url) as connection:
        connection.execute(f"UPDATE api_keys SET {column} = now() WHERE domain = %s", (tenant.domain,))
    code, text = await refusal(tenant.send("a@b.test"))
    assert (code, text) == (StatusCode.UNAUTHENTICATED, "the credentials are missing or not valid")


async def test_a_large_request_is_not_read_without_credentials(client: Client, tenant: Tenant) -> None:
    large = SendHTMLReq(html="x" * (MAX_MESSAGE + 1))
    code, _ = await refusal(client.call("Mailer/SendHTML", large))
    assert code is StatusCode.UNAUTHENTICATED
    code, _ = await refusal(tenant.send(html=large.html))
    assert code is StatusCode.RESOURCE_EXHAUSTED


async def test_twenty_thousand_recipients_at_once(tenant: Tenant, database_url: str) -> None:
    started = time.monotonic()
    answer = await tenant.send(*(f"r{i}@example.org" for i in range(20_000)))
    assert time.monotonic() - started < 10
    assert answer.accepted_count == 20_000
    text = "SELECT count(*) AS found FROM messages JOIN deliveries ON batch = number WHERE message_id = %s"
    assert rows(database_url, text, answer.message_id) == [{"found": 20_000}]


async def test_other_calls_are_answered_while_a_large_one_is_read(client: Client, tenant: Tenant) -> None:
    large = asyncio.create_task(tenant.send(*(f"r{i}@example.org" for i in range(20_000))))
    waits = []
    while not large.done():
        started = time.monotonic()
        await client.admin("Api/GetDomain", admin_pb2.GetDomainReq(domain=tenant.domain))
        waits.append(time.monotonic() - started)
    assert len(waits) > 3
    assert sorted(waits)[len(waits) // 2] < 0.5
    assert (await large).accepted_count == 20_000


async def test_a_client_that_goes_away_does_no_harm(client: Client, tenant: Tenant) -> None:
    for _ in range(5):
        call = asyncio.create_task(tenant.send(*(f"r{i}@example.org" for i in range(2_000))))
        await client.call("HZService/HZ", admin_pb2.HZRequest())
        call.cancel()
        with pytest.raises((asyncio.CancelledError, aio.AioRpcError)):
            await call
    assert (await tenant.send("a@b.test")).accepted_count == 1
