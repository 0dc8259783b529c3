"""Suppressions over gRPC: listed, added, removed; and calls that send to suppressed addresses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from grpc import StatusCode

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.suppressions import SQL, PostgresSuppressions
from kannon.ports import SuppressionFilter
from tests.gateway_client import Tenant, refusal, rows

DAY = timedelta(days=1)


async def ask(tenant: Tenant, procedure: str, **fields: Any) -> Any:
    fields = {"domain": tenant.domain} | fields
    return await tenant.client.admin(f"Api/{procedure}", getattr(pb, f"{procedure}Req")(**fields))


async def suppress(tenant: Tenant, *addresses: str, **fields: Any) -> Any:
    news = [pb.NewSuppression(address=address, **fields) for address in addresses]
    return await ask(tenant, "AddSuppressions", suppressions=news)


async def refused(sent: Any) -> list[tuple[str, str]]:
    return [(one.email, one.reason) for one in sent.rejected_recipients]


async def test_a_suppression_from_its_beginning_to_its_end(tenant: Tenant) -> None:
    answer = await suppress(tenant, "Ada@BÜCHER.example", reason="hard_bounce", detail="550 no such user")
    assert (answer.added, answer.unchanged, list(answer.rejected)) == (1, 0, [])
    found = (await ask(tenant, "GetSuppression", address="ada@xn--bcher-kva.example")).suppression
    assert (found.domain, found.address) == (tenant.domain, "ada@xn--bcher-kva.example")
    assert (found.reason, found.source, found.detail) == ("hard_bounce", "operator", "550 no such user")
    lasts = found.expires_at.ToDatetime() - found.created_at.ToDatetime()
    assert lasts == 365 * DAY
    assert list((await ask(tenant, "ListSuppressions")).suppressions) == [found]

    removed = await ask(tenant, "RemoveSuppression", address="ADA@bücher.example")
    assert removed.suppression == found
    for procedure in ("GetSuppression", "RemoveSuppression"):
        assert await refusal(ask(tenant, procedure, address="ada@bücher.example")) == (
            StatusCode.NOT_FOUND,
            f"address: the domain {tenant.domain} has no suppression of ada@xn--bcher-kva.example",
        )


async def test_what_is_wrong_with_one_keeps_no_other_out(tenant: Tenant) -> None:
    now = datetime.now(UTC)
    past, ahead = write_timestamp(now - 400 * DAY), write_timestamp(now + 2 * DAY)
    news = [
        pb.NewSuppression(address="a@x.test"),
        pb.NewSuppression(address="nobody"),
        pb.NewSuppression(address="b@x.test", reason="boredom"),
        pb.NewSuppression(address="c@x.test", reason="hard_bounce", created_at=past),
        pb.NewSuppression(address="d@x.test", created_at=ahead),
        pb.NewSuppression(address="e@x.test", detail="x" * 501),
        pb.NewSuppression(address="f@x.test", reason="soft_bounce", expires_at=ahead),
        pb.NewSuppression(address="A@X.test", reason="manual"),
    ]
    answer = await ask(tenant, "AddSuppressions", suppressions=news)
    assert (answer.added, answer.unchanged) == (2, 1)
    assert [(one.index, one.address, one.reason.partition(":")[0]) for one in answer.rejected] == [
        (1, "nobody", "address"),
        (2, "b@x.test", "reason"),
        (3, "c@x.test", "expires_at"),
        (4, "d@x.test", "created_at"),
        (5, "e@x.test", "detail"),
    ]
    manual = (await ask(tenant, "GetSuppression", address="a@x.test")).suppression
    assert not manual.HasField("expires_at")


@pytest.mark.parametrize(
    ("procedure", "fields", "text"),
    [
        ("ListSuppressions", {"take": 1001}, "take: must not be more than 1000"),
        ("ListSuppressions", {"reason": "x"}, "reason: must be one of complaint, unsubscribe, manual, "),
        ("ListSuppressions", {"address_prefix": "\0"}, "address_prefix: must not hold NUL"),
        ("GetSuppression", {"address": "nobody"}, "address: "),
        ("AddSuppressions", {"suppressions": [pb.NewSuppression()] * 10_001}, "suppressions: must not be"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    tenant: Tenant, procedure: str, fields: dict[str, Any], text: str
) -> None:
    code, told = await refusal(ask(tenant, procedure, **fields))
    assert (code, told.startswith(text)) == (StatusCode.INVALID_ARGUMENT, True), told


async def test_a_domain_that_is_not_there_has_no_suppressions(tenant: Tenant) -> None:
    for procedure in ("ListSuppressions", "AddSuppressions"):
        code, _ = await refusal(ask(tenant, procedure, domain="never.was.test"))
        assert code is StatusCode.NOT_FOUND


async def test_pages_of_what_is_asked_for(tenant: Tenant) -> None:
    await suppress(tenant, *(f"r{number}@x.test" for number in range(10)))
    await suppress(tenant, "r3@x.test", "s@x.test", reason="complaint")
    found, after = [], ""
    while True:
        page = await ask(tenant, "ListSuppressions", address_prefix="R", after=after, take=3)
        found += [one.address for one in page.suppressions]
        after = page.next
        if not after:
            break
    assert found == [f"r{number}@x.test" for number in range(10)]
    complained = await ask(tenant, "ListSuppressions", reason="complaint")
    assert [one.address for one in complained.suppressions] == ["r3@x.test", "s@x.test"]
    later = write_timestamp(datetime.now(UTC) + DAY)
    assert not (await ask(tenant, "ListSuppressions", from_date=later)).suppressions


async def test_of_ten_thousand_recipients_the_hundred_suppressed_are_refused(
    tenant: Tenant, database_url: str
) -> None:
    addresses = [f"Reader{number}@example.org" for number in range(10_000)]
    gone = addresses[50::100]
    assert (await suppress(tenant, *(address.lower() for address in gone))).added == 100
    sent = await tenant.send(*addresses, "not an address")
    assert (sent.accepted_count, sent.rejected_count) == (9_900, 101)
    assert await refused(sent) == [
        ("not an address", "invalid_email"),
        *((address, "suppressed") for address in gone),
    ]
    query = (
        "SELECT seq, email FROM deliveries JOIN messages ON number = batch WHERE message_id = %s ORDER BY seq"
    )
    stored = rows(database_url, query, sent.message_id)
    assert [row["seq"] for row in stored] == list(range(9_900))
    assert {row["email"] for row in stored} == set(addresses) - set(gone)


async def test_what_is_suppressed_for_one_domain_is_sent_by_another(tenant: Tenant) -> None:
    other = await tenant.client.tenant()
    await suppress(tenant, "ada@example.org", reason="complaint")
    assert (await tenant.send("ada@example.org")).accepted_count == 0
    assert (await other.send("ada@example.org")).accepted_count == 1


@pytest.mark.parametrize("reason", ["complaint", "unsubscribe", "manual", "hard_bounce", "soft_bounce"])
async def test_a_call_may_say_to_send_all_the_same_but_not_after_a_complaint(
    tenant: Tenant, reason: str
) -> None:
    await suppress(tenant, "ada@example.org", "bea@example.org", reason=reason)
    sent = await tenant.send(
        recipients=[
            Recipient(email="Ada@example.org", ignore_suppression=True),
            Recipient(email="bea@EXAMPLE.org"),
            Recipient(email="cleo@example.org"),
        ]
    )
    if reason == "complaint":
        assert await refused(sent) == [("Ada@example.org", "suppressed"), ("bea@EXAMPLE.org", "suppressed")]
    else:
        assert await refused(sent) == [("bea@EXAMPLE.org", "suppressed")]


async def test_what_has_expired_is_sent_to(tenant: Tenant, database_url: str) -> None:
    await suppress(tenant, "ada@example.org")
    assert (await tenant.send("ada@example.org")).accepted_count == 0
    rows(
        database_url,
        "UPDATE suppressions SET expires_at = now() - interval '1 second' WHERE domain = %s RETURNING 1",
        tenant.domain,
    )
    assert (await tenant.send("ada@example.org")).accepted_count == 1
    assert not (await ask(tenant, "ListSuppressions")).suppressions


async def test_a_filter_that_matches_little_is_answered_bit_by_bit(tenant: Tenant, database_url: str) -> None:
    await suppress(tenant, *(f"r{number}@x.test" for number in range(10)))
    await suppress(tenant, "r7@x.test", reason="complaint")
    wanted = SuppressionFilter(tenant.domain, "complaint")  # type: ignore[arg-type]
    database = Database(database_url)
    await database.open()
    store, pages, after = PostgresSuppressions(database, looked_at=4), [], ""
    while True:
        page = await store.page(wanted, after, 2, datetime.now(UTC))
        pages.append([one.address for one in page.suppressions])
        after = page.next
        if not after:
            break
    await database.close()
    assert pages == [[], ["r7@x.test"], []]


async def test_addresses_are_looked_up_by_index_in_a_large_table(tenant: Tenant, database_url: str) -> None:
    many = """
    INSERT INTO suppressions (domain, address, reason, source, created_at)
    SELECT %s, 'r' || n || '@example.org', 'manual', 'operator', now() FROM generate_series(1, 50000) AS n
    RETURNING 1
    """
    rows(database_url, many, tenant.domain)
    wanted = {"domain": tenant.domain, "addresses": '["r1@example.org"]', "now": datetime.now(UTC)}
    with psycopg.connect(database_url) as connection:
        lines = connection.execute("EXPLAIN " + SQL["reasons"], wanted).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert "suppressions_pkey" in plan
    assert "Seq Scan on suppressions" not in plan
