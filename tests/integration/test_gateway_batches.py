"""Looking at Batches, cancelling and moving them over gRPC."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import mailer_pb2 as pb
from tests.gateway_client import Client, Tenant, basic, refusal, rows

DELIVERIES = """
SELECT status, due_at, expires_at FROM deliveries JOIN messages ON number = batch WHERE message_id = %s
"""


async def ask(tenant: Tenant, procedure: str, request: Message) -> Any:
    return await tenant.client.call(
        f"Mailer/{procedure}", request, authorization=basic(tenant.domain, tenant.key)
    )


def many(count: int) -> list[str]:
    return [f"reader{number}@example.org" for number in range(count)]


async def test_a_batch_from_its_acceptance_to_its_cancellation(tenant: Tenant, database_url: str) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    sent = await tenant.send(*many(3), scheduled_time=write_timestamp(at))
    told = await ask(tenant, "GetBatch", pb.GetBatchReq(message_id=sent.message_id))
    assert (told.template_id, told.subject) == (sent.template_id, "Hello {{ name }}")
    assert (told.scheduled_time, dict(told.counts)) == (write_timestamp(at), {"accepted": 3})

    sooner = at - timedelta(days=2)
    request = pb.RescheduleBatchReq(message_id=sent.message_id, scheduled_time=write_timestamp(sooner))
    moved = await ask(tenant, "RescheduleBatch", request)
    assert (moved.moved, moved.under_way, moved.ended) == (3, 0, 0)
    stored = rows(database_url, DELIVERIES, sent.message_id)
    assert {(row["due_at"], row["expires_at"]) for row in stored} == {(sooner, sooner + timedelta(days=1))}

    cancelled = [
        await ask(tenant, "CancelBatch", pb.CancelBatchReq(message_id=sent.message_id)) for _ in range(2)
    ]
    assert cancelled[0] == cancelled[1]
    assert (cancelled[0].cancelled, cancelled[0].under_way, cancelled[0].ended) == (3, 0, 0)
    assert {row["status"] for row in rows(database_url, DELIVERIES, sent.message_id)} == {"cancelled"}
    told = await ask(tenant, "GetBatch", pb.GetBatchReq(message_id=sent.message_id))
    assert (told.cancelled_time, dict(told.counts)) == (cancelled[0].cancelled_time, {"cancelled": 3})

    assert await refusal(ask(tenant, "RescheduleBatch", request)) == (
        StatusCode.FAILED_PRECONDITION,
        "message_id: the message was cancelled",
    )


async def test_a_batch_of_nobody_is_cancelled_too(tenant: Tenant) -> None:
    sent = await tenant.send()
    answer = await ask(tenant, "CancelBatch", pb.CancelBatchReq(message_id=sent.message_id))
    assert (answer.cancelled, answer.under_way, answer.ended) == (0, 0, 0)


async def test_another_tenants_batch_is_like_one_that_never_was(client: Client, tenant: Tenant) -> None:
    theirs = (await (await client.tenant()).send("a@b.test")).message_id
    at = write_timestamp(datetime.now(UTC))
    for name in (theirs, f"msg_0@{tenant.domain}"):
        for procedure, request in (
            ("GetBatch", pb.GetBatchReq(message_id=name)),
            ("CancelBatch", pb.CancelBatchReq(message_id=name)),
            ("RescheduleBatch", pb.RescheduleBatchReq(message_id=name, scheduled_time=at)),
        ):
            assert await refusal(ask(tenant, procedure, request)) == (
                StatusCode.NOT_FOUND,
                f"message_id: the domain {tenant.domain} has no message of that name",
            )


async def test_a_large_batch_is_moved_and_cancelled_within_a_call(tenant: Tenant, database_url: str) -> None:
    sent = await tenant.send(*many(12_000))
    at = write_timestamp(datetime.now(UTC) + timedelta(days=1))
    request = pb.RescheduleBatchReq(message_id=sent.message_id, scheduled_time=at)
    assert (await ask(tenant, "RescheduleBatch", request)).moved == 12_000
    answer = await ask(tenant, "CancelBatch", pb.CancelBatchReq(message_id=sent.message_id))
    assert answer.cancelled == 12_000
    left = "SELECT count(*) AS left FROM messages WHERE unsettled_from IS NOT NULL"
    assert rows(database_url, left) == [{"left": 0}]
