"""Tracking Policies over gRPC: what a Domain allows, what calls and Recipients ask for, what is kept."""

from typing import Any

import pytest
from grpc import StatusCode

from kannon.adapters.pb import admin_pb2 as pb
from kannon.adapters.pb.tracking_pb2 import TrackingMode, TrackingPolicy
from kannon.adapters.pb.types_pb2 import Recipient
from tests.gateway_client import Client, Tenant, basic, refusal, rows

OFF, ANONYMOUS, PSEUDONYMOUS, IDENTIFIED, FULL = (TrackingMode.ValueType(number) for number in range(1, 6))
NEWER = TrackingMode.ValueType(9999)


async def allow(tenant: Tenant, **modes: TrackingMode.ValueType) -> pb.Domain:
    request = pb.SetTrackingPolicyReq(domain=tenant.domain, tracking=TrackingPolicy(**modes))
    answer: pb.SetTrackingPolicyRes = await tenant.client.admin("Api/SetTrackingPolicy", request)
    return answer.domain


def reader(name: str, **modes: TrackingMode.ValueType) -> Recipient:
    tracking = TrackingPolicy(**modes) if modes else None
    return Recipient(email=f"{name}@example.org", tracking=tracking)


def kept(url: str, sent: Any) -> tuple[int, dict[str, int | None]]:
    """What the ledger has of a Batch, and of its Deliveries."""
    (batch,) = rows(url, "SELECT number, tracking FROM messages WHERE message_id = %s", sent.message_id)
    found = rows(url, "SELECT email, tracking FROM deliveries WHERE batch = %s", batch["number"])
    return batch["tracking"], {row["email"].partition("@")[0]: row["tracking"] for row in found}


async def test_a_new_domain_allows_identified(tenant: Tenant) -> None:
    found = await tenant.client.admin("Api/GetDomain", pb.GetDomainReq(domain=tenant.domain))
    assert found.domain.tracking == TrackingPolicy(opens=IDENTIFIED, links=IDENTIFIED)
    made = await tenant.client.admin(
        "Api/CreateDomain", pb.CreateDomainRequest(domain="sub." + tenant.domain)
    )
    assert made.tracking == found.domain.tracking


async def test_a_domains_policy_is_set_and_shown(tenant: Tenant) -> None:
    changed = await allow(tenant, opens=OFF, links=FULL)
    assert (changed.domain, changed.tracking) == (tenant.domain, TrackingPolicy(opens=OFF, links=FULL))
    assert changed.dkim_pub_key
    listed = await tenant.client.admin("Api/GetDomains", pb.GetDomainsReq())
    assert changed in listed.domains


async def test_what_a_domains_policy_does_not_state_is_off(tenant: Tenant) -> None:
    assert (await allow(tenant, links=ANONYMOUS)).tracking == TrackingPolicy(opens=OFF, links=ANONYMOUS)


async def test_a_policy_that_cannot_be_set(tenant: Tenant) -> None:
    assert await refusal(allow(tenant, links=NEWER)) == (
        StatusCode.INVALID_ARGUMENT,
        "tracking.links: there is no mode 9999, but off, anonymous, pseudonymous, identified, full",
    )
    nobody = pb.SetTrackingPolicyReq(domain="nobody.test", tracking=TrackingPolicy(opens=OFF))
    assert await refusal(tenant.client.admin("Api/SetTrackingPolicy", nobody)) == (
        StatusCode.NOT_FOUND,
        "there is no domain nobody.test",
    )


async def test_a_key_without_the_role_sets_no_policy(client: Client, tenant: Tenant) -> None:
    request = pb.SetTrackingPolicyReq(domain=tenant.domain, tracking=TrackingPolicy(opens=FULL))
    code, _ = await refusal(
        client.call("Api/SetTrackingPolicy", request, authorization=basic(tenant.domain, tenant.key))
    )
    assert code is StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("readers", [3, 60])
async def test_what_holds_is_kept_with_the_batch_and_with_those_who_differ(
    tenant: Tenant, database_url: str, readers: int
) -> None:
    await allow(tenant, opens=FULL, links=FULL)
    recipients = [reader("shy", opens=OFF, links=OFF), reader("unstated"), reader("eager", opens=FULL)]
    recipients += [reader(f"r{n}", links=PSEUDONYMOUS) for n in range(readers - 3)]
    sent = await tenant.send(recipients=recipients, tracking=TrackingPolicy(opens=IDENTIFIED))
    assert sent.accepted_count == readers
    batch, deliveries = kept(database_url, sent)
    assert batch == 45
    assert deliveries == {"shy": 11, "unstated": None, "eager": None} | {
        f"r{n}": 43 for n in range(readers - 3)
    }


async def test_a_call_that_asks_for_more_than_its_domain_allows_leaves_nothing(
    tenant: Tenant, database_url: str
) -> None:
    await allow(tenant, opens=IDENTIFIED, links=OFF)
    call = tenant.send("a@example.org", tracking=TrackingPolicy(opens=ANONYMOUS, links=FULL))
    assert await refusal(call) == (
        StatusCode.INVALID_ARGUMENT,
        "tracking.links: full is more than the domain allows, which is off",
    )
    code, text = await refusal(tenant.send("a@example.org", tracking=TrackingPolicy(opens=NEWER)))
    assert (code, text.partition(":")[0]) == (StatusCode.INVALID_ARGUMENT, "tracking.opens")
    assert not rows(database_url, "SELECT 1 FROM messages WHERE domain = %s", tenant.domain)


async def test_a_recipient_that_asks_for_more_is_refused_alone(tenant: Tenant, database_url: str) -> None:
    sent = await tenant.send(
        recipients=[reader("a"), reader("greedy", opens=FULL), reader("newer", links=NEWER), reader("b")]
    )
    assert (sent.accepted_count, sent.rejected_count) == (2, 2)
    assert [(one.email, one.reason) for one in sent.rejected_recipients] == [
        ("greedy@example.org", "tracking_above_ceiling"),
        ("newer@example.org", "unsupported_tracking_mode"),
    ]
    assert kept(database_url, sent) == (44, {"a": None, "b": None})


async def test_a_batch_keeps_the_policy_that_it_was_accepted_under(tenant: Tenant, database_url: str) -> None:
    sent = await tenant.send("a@example.org")
    await allow(tenant, opens=OFF, links=OFF)
    assert kept(database_url, sent)[0] == 44
    assert kept(database_url, await tenant.send("a@example.org"))[0] == 11


async def test_a_repeated_call_has_its_answer_whatever_is_allowed_meanwhile(
    tenant: Tenant, database_url: str
) -> None:
    async def send(links: TrackingMode.ValueType) -> Any:
        return await tenant.client.call(
            "Mailer/SendHTML",
            tenant.mail("a@example.org", tracking=TrackingPolicy(links=links)),
            authorization=basic(tenant.domain, tenant.key),
            idempotency_key="once",
        )

    first = await send(IDENTIFIED)
    await allow(tenant, opens=OFF, links=OFF)
    assert await send(IDENTIFIED) == first
    assert (await refusal(send(OFF)))[0] is StatusCode.ALREADY_EXISTS
    assert len(rows(database_url, "SELECT 1 FROM messages WHERE domain = %s", tenant.domain)) == 1
