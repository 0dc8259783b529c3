"""What a domain may send, over gRPC with real PostgreSQL; and gateways that keep to it together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from grpc import StatusCode, aio

from kannon.adapters.pb.admin_pb2 import GetLimitsReq, Limits, SetLimitsReq
from kannon.core import limits
from tests.gateway_client import Client, Tenant, basic, refusal, running_gateway

DEFAULTS = limits.Limits(mails_per_minute=0, mails_per_day=50, recipients_per_call=5)


@pytest.fixture
async def client(database_url: str, nats_url: str) -> AsyncIterator[Client]:
    """Calls a gateway whose settings limit every domain."""
    async with running_gateway(database_url, nats_url, limits=DEFAULTS) as client:
        yield client


async def limit(tenant: Tenant, **own: int) -> None:
    await tenant.client.admin("Api/SetLimits", SetLimitsReq(domain=tenant.domain, own=Limits(**own)))


def addresses(count: int) -> Sequence[str]:
    return [f"r{number}@example.org" for number in range(count)]


async def test_limits_are_shown_and_replaced(client: Client, tenant: Tenant) -> None:
    ask = GetLimitsReq(domain=tenant.domain)
    found = await client.admin("Api/GetLimits", ask)
    assert found.own == Limits()
    assert found.effective == Limits(mails_per_minute=0, mails_per_day=50, recipients_per_call=5)
    own = Limits(mails_per_minute=2**32 - 1, recipients_per_call=0)
    made = await client.admin("Api/SetLimits", SetLimitsReq(domain=tenant.domain, own=own))
    assert made.own == own
    assert made.effective == Limits(mails_per_minute=2**32 - 1, mails_per_day=50, recipients_per_call=0)
    assert (await client.admin("Api/GetLimits", ask)).own == own
    await client.admin("Api/SetLimits", SetLimitsReq(domain=tenant.domain))
    assert (await client.admin("Api/GetLimits", ask)).own == Limits()


async def test_a_domain_that_there_is_not_has_none(client: Client) -> None:
    for call in (
        client.admin("Api/GetLimits", GetLimitsReq(domain="nobody.test")),
        client.admin("Api/SetLimits", SetLimitsReq(domain="nobody.test")),
    ):
        assert await refusal(call) == (StatusCode.NOT_FOUND, "there is no domain nobody.test")


async def test_a_call_that_is_too_large_for_ever_is_told_which_field(tenant: Tenant) -> None:
    assert await refusal(tenant.send(*addresses(6))) == (
        StatusCode.INVALID_ARGUMENT,
        "recipients: must not be more than 5 in one call of this domain",
    )
    await limit(tenant, recipients_per_call=0, mails_per_minute=6, mails_per_day=7)
    for count, said in ((7, "6 mails a minute"), (8, "6 mails a minute")):
        assert await refusal(tenant.send(*addresses(count))) == (
            StatusCode.INVALID_ARGUMENT,
            f"recipients: {count} are more than the {said} of this domain",
        )
    assert (await tenant.send(*addresses(6), "no address", "neither")).accepted_count == 6


async def test_what_goes_beyond_is_told_when_to_come_again(tenant: Tenant) -> None:
    await limit(tenant, mails_per_day=3)
    await tenant.send(*addresses(2))
    with pytest.raises(aio.AioRpcError) as refused:
        await tenant.send(*addresses(2))
    assert refused.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "the domain has sent 2 of its 3 mails of this day"
    trailers: dict[Any, Any] = dict(refused.value.trailing_metadata())  # type: ignore[arg-type]
    assert 1 <= int(trailers["retry-after"]) <= 24 * 3600
    assert (await tenant.send("one@example.org")).accepted_count == 1


async def test_a_call_repeated_under_its_key_is_not_counted_again(tenant: Tenant) -> None:
    await limit(tenant, mails_per_day=2)
    headers = {"authorization": basic(tenant.domain, tenant.key), "idempotency_key": "once"}
    answers = [
        await tenant.client.call("Mailer/SendHTML", tenant.mail("a@b.test"), **headers) for _ in range(5)
    ]
    assert len({answer.message_id for answer in answers}) == 1
    await tenant.send("c@d.test")
    assert await tenant.client.call("Mailer/SendHTML", tenant.mail("a@b.test"), **headers) == answers[0]


async def test_the_limits_of_one_domain_are_not_those_of_another(client: Client, tenant: Tenant) -> None:
    await limit(tenant, mails_per_day=1)
    await tenant.send("a@b.test")
    other = await client.tenant()
    assert (await other.send(*addresses(5))).accepted_count == 5
    assert (await refusal(tenant.send("a@b.test")))[0] is StatusCode.RESOURCE_EXHAUSTED


async def test_two_gateways_at_once_never_exceed_a_limit(
    client: Client, tenant: Tenant, database_url: str, nats_url: str
) -> None:
    await limit(tenant, mails_per_day=10)
    async with running_gateway(database_url, nats_url, limits=DEFAULTS) as second:
        gateways = [tenant, Tenant(second, tenant.domain, tenant.key)]

        calls = [gateways[number % 2].send(*addresses(number % 3 + 1)) for number in range(40)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer.code() for answer in answers if isinstance(answer, aio.AioRpcError)]
    assert set(refused) == {StatusCode.RESOURCE_EXHAUSTED}
    sent = sum(answer.accepted_count for answer in answers if not isinstance(answer, BaseException))
    assert 8 <= sent <= 10
    while sent < 10:
        await tenant.send("a@b.test")
        sent += 1
    assert (await refusal(tenant.send("a@b.test")))[0] is StatusCode.RESOURCE_EXHAUSTED
